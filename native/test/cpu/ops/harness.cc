#include "harness.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

namespace onehour::cpu::test {
namespace {

std::normal_distribution<double> distribution;

}  // namespace

void fail(const std::string& message) {
  ++failures;
  if (failures <= 40) std::fprintf(stderr, "FAIL %s: %s\n", current.c_str(), message.c_str());
}

void check(bool condition, const std::string& message) {
  if (!condition) fail(message);
}

void reseed() {
  generator.seed(7);
  distribution.reset();
}

double normal() { return distribution(generator); }

void compare(const std::string& what, const Tensor& got, const std::vector<double>& expected,
             double tolerance, double scale) {
  check(got.guarded(), what + " was overrun");
  if (static_cast<int64_t>(expected.size()) != got.count()) return fail(what + " has another size");
  if (scale < 0) {
    double sum = 0;
    for (double value : expected) sum += value * value;
    scale = std::sqrt(sum / static_cast<double>(std::max<size_t>(1, expected.size())));
  }
  const double rounding = got.type() == DataType::bf16 ? 1.0 / 200 : 0;
  for (int64_t i = 0; i < got.count(); ++i) {
    const double want = expected[static_cast<size_t>(i)];
    const double allowed = tolerance * (std::abs(want) + scale) + rounding * std::abs(want);
    if (!(std::abs(got[i] - want) <= allowed) && !(std::isnan(got[i]) && std::isnan(want))) {
      return fail(what + "[" + std::to_string(i) + "]: expected " + std::to_string(want) +
                  ", got " + std::to_string(got[i]));
    }
  }
}

std::unique_ptr<Kernel> prepare(const std::string& op, const Attributes& attributes,
                                const std::vector<Tensor>& inputs,
                                const std::vector<Tensor>& outputs) {
  Instruction instruction;
  instruction.stream = "compute";
  instruction.op = op;
  instruction.attributes = attributes;
  for (const Tensor& tensor : inputs) instruction.inputs.push_back(tensor.operand());
  for (const Tensor& tensor : outputs) instruction.outputs.push_back(tensor.operand());
  PrepareContext context{*device->backend, [](std::string_view) -> Communicator& {
                           throw Error("ERR_KERNEL", "test", "no communicator");
                         }};
  const auto factory = device->backend->kernels().find(op);
  if (factory == device->backend->kernels().end()) {
    throw Error("ERR_KERNEL", "test", "no kernel for " + op);
  }
  return factory->second.prepare(instruction, context);
}

void run(Kernel& kernel, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) {
  // A workspace full of NaNs: kernels may not rely on what is in it.
  const size_t bytes = (kernel.workspaceBytes() + 63) / 64 * 64;
  std::unique_ptr<char, decltype(&std::free)> workspace(
      static_cast<char*>(std::aligned_alloc(64, bytes + guardBytes)), std::free);
  std::memset(workspace.get(), 0xff, bytes);
  std::memset(workspace.get() + bytes, guard, guardBytes);
  device->stream->bindWorkspace(workspace.get());
  device->backend->launch(*device->stream, kernel);
  device->backend->synchronize(*device->stream);
  for (size_t i = 0; i < guardBytes; ++i) {
    if (workspace.get()[bytes + i] != guard) {
      fail("the workspace was overrun");
      break;
    }
  }
  for (const std::vector<Tensor>& side : {inputs, outputs}) {
    for (const Tensor& tensor : side) check(tensor.guarded(), tensor.operand().name + " overrun");
  }
}

void run(const std::string& op, const Attributes& attributes, const std::vector<Tensor>& inputs,
         const std::vector<Tensor>& outputs) {
  run(*prepare(op, attributes, inputs, outputs), inputs, outputs);
}

}  // namespace onehour::cpu::test
