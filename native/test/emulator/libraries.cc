// What stands in for cuDNN, cuBLASLt and NCCL where there is no GPU: the CPU backend's kernels and
// communicators, since the emulated device's memory is the host's.
#include <memory>
#include <stdexcept>
#include <utility>

#include "../../cpu/ops/kernels.h"
#include "../../cuda/ops/kernels.h"
#include "../../cuda/ops/linear.h"

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
    emulator::perform(handleOf(stream), [this, &stream] { kernel_->run(stream); });
  }
  size_t workspaceBytes() const override { return kernel_->workspaceBytes(); }

 private:
  std::unique_ptr<Kernel> kernel_;
};

template <const KernelTable& (*table)()>
const KernelTable& standIns() {
  static const KernelTable result = [] {
    KernelTable kernels;
    for (const auto& [name, entry] : table()) {
      const auto factory = [](const Instruction& instruction, PrepareContext& context) {
        return std::unique_ptr<Kernel>(
            std::make_unique<StandIn>(table().at(instruction.op).factory(instruction, context)));
      };
      kernels.emplace(name, KernelEntry{entry.signature, factory});
    }
    return kernels;
  }();
  return result;
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
    auto kernel = cpu::linearKernels().at(instruction.op).factory(product, context);
    const size_t bytes = kernel->workspaceBytes();
    return makeKernel(
        [unused, weight = std::make_unique<StandIn>(std::move(kernel)),
         bias = prepareBiasGradient(instruction.input("dy"), instruction.output("db"), accumulate,
                                    context)](Stream& stream) {
          weight->run(stream);
          bias->run(stream);
        },
        bytes);
  }
  throw std::logic_error("db is an operand of every " + instruction.op);
}

}  // namespace

const KernelTable& convKernels() { return standIns<cpu::convKernels>(); }
const KernelTable& linearKernels() {
  static const KernelTable table = [] {
    KernelTable kernels = standIns<cpu::linearKernels>();
    kernels.at("linear-backward-weight").factory = linearBackwardWeight;
    return kernels;
  }();
  return table;
}
const KernelTable& collectiveKernels() { return standIns<cpu::collectiveKernels>(); }

std::unique_ptr<Communicator> createNcclCommunicator(int, int rank, int size, double timeoutSeconds,
                                                     bool, Watch&) {
  return cpu::createHostCommunicator(rank, size, timeoutSeconds);
}

bool ncclOrdersCollectives() { return true; }

std::shared_ptr<void> allocateForCollectives(size_t bytes) {
  void* memory = nullptr;
  ONEHOUR_CUDA(cudaMalloc(&memory, bytes));
  return {memory, [](void* address) { cudaFree(address); }};
}

}  // namespace onehour::cuda
