// The CPU backend's kernels in place of cuDNN's and cuBLASLt's: the emulated device's memory is the
// host's.
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "../../cpu/ops/kernels.h"
#include "../../cuda/ops/kernels.h"
#include "../../cuda/ops/linear.h"
#include "../fakes/cuda-runtime.h"

namespace onehour {

LibraryVersions libraryVersions() { return {}; }

}  // namespace onehour

namespace onehour::cuda {
namespace {

// A kernel of the CPU as work of the emulated device.
class StandIn final : public Kernel {
 public:
  explicit StandIn(std::unique_ptr<Kernel> kernel) : kernel_(std::move(kernel)) {}
  void run(Stream& stream) override {
    fake::post(handleOf(stream), [this, &stream] { kernel_->run(stream); });
  }
  size_t workspaceBytes() const override { return kernel_->workspaceBytes(); }

 private:
  std::unique_ptr<Kernel> kernel_;
};

std::unique_ptr<Kernel> standIn(const Instruction& instruction, PrepareContext& context) {
  const KernelTable& cpus = cpu::kernelRegistry().kernels();
  return std::make_unique<StandIn>(cpus.at(instruction.op).factory(instruction, context));
}

// The CPU's product with the bias's gradient by this backend's own kernel.
std::unique_ptr<Kernel> linearBackwardWeight(const Instruction& instruction,
                                             PrepareContext& context) {
  Instruction product = instruction;
  for (Operand& output : product.outputs) {
    if (output.name != "db") continue;
    auto unused = context.backend.allocate(output.bytes(), MemoryKind::device);
    output.data = unused.get();
    const bool accumulate = instruction.integer("accumulate", 0) != 0;
    auto weight = standIn(product, context);
    const size_t bytes = weight->workspaceBytes();
    return makeKernel(
        [unused, weight = std::move(weight),
         bias = prepareBiasGradient(instruction.input("dy"), instruction.output("db"), accumulate,
                                    context)](Stream& stream) {
          weight->run(stream);
          bias->run(stream);
        },
        bytes);
  }
  throw std::logic_error("db is an operand of every " + instruction.op);
}

// The CPU's gradient of filters, which it rounds after that.
std::unique_ptr<Kernel> conv2dBackwardWeightRounded(const Instruction& instruction,
                                                    PrepareContext& context) {
  struct Lines {  // which the kernels may refer to
    Instruction product, rounding;
    std::shared_ptr<void> computed;
  };
  auto lines = std::make_shared<Lines>(Lines{instruction, instruction, nullptr});
  Operand& computed = lines->product.outputs.at(0);
  computed.type = DataType::f32;
  lines->computed = context.backend.allocate(computed.bytes(), MemoryKind::device);
  computed.data = lines->computed.get();
  lines->rounding.inputs = {computed};
  lines->rounding.inputs[0].name = std::string("x");  // GCC 12 warns of an overlap without it
  lines->rounding.outputs.at(0).name = std::string("y");
  const KernelTable& cpus = cpu::kernelRegistry().kernels();
  auto product = cpus.at("conv2d-backward-weight").factory(lines->product, context);
  const size_t bytes = product->workspaceBytes();
  return std::make_unique<StandIn>(makeKernel(
      [lines, product = std::move(product),
       rounding = cpus.at("copy").factory(lines->rounding, context)](Stream& stream) {
        product->run(stream);
        rounding->run(stream);
      },
      bytes));
}

// What NVIDIA's libraries compute, by the beginnings of the ops' names.
constexpr std::string_view kOfLibraries[] = {"conv2d", "linear"};

const RegisteredKernels kernels(kernelRegistry(), [] {
  KernelTable table;
  for (const auto& [op, entry] : cpu::kernelRegistry().kernels()) {
    for (const std::string_view beginning : kOfLibraries) {
      if (op.starts_with(beginning)) table.emplace(op, KernelEntry{entry.signature, standIn});
    }
  }
  KernelEntry& weight = table.at("linear-backward-weight");
  weight = {weight.signature, linearBackwardWeight, 2};
  table.emplace(
      "conv2d-backward-weight-rounded",
      KernelEntry{"x:T[N,H,W,C] dy:T[N,P,Q,K] -> dw:T[K,R,S,D]", conv2dBackwardWeightRounded});
  return table;
});

}  // namespace

}  // namespace onehour::cuda
