// The factor by which LARS multiplies the rate of each tensor.
#include <cmath>
#include <utility>

#include "../../core/ops/norms.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

std::unique_ptr<Kernel> larsTrust(const Instruction& instruction, PrepareContext&) {
  LarsTrust operands = larsTrustOf(instruction);
  return makeKernel([norms = operands.norms.as<float>(), trust = operands.trust.as<float>(),
                     coefficient = operands.coefficient,
                     tensors = std::move(operands.tensors)](Stream&) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      const double weights = std::sqrt(static_cast<double>(norms[3 * i]));
      const double gradients = std::sqrt(static_cast<double>(norms[3 * i + 1]));
      const bool adapts = tensors[i].adapts && weights > 0 && gradients > 0;
      const double ratio = coefficient * weights / (gradients + tensors[i].decay * weights);
      trust[i] = adapts ? static_cast<float>(ratio) : 1;
    }
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {{"lars-trust", {"norms:f32[S,3] -> trust:f32[S]", larsTrust}}};
});

}  // namespace

}  // namespace onehour::cpu
