// The weight of a step in a moving average of the weights.
#include "../../core/ops/ema.h"

#include "kernels.h"

namespace onehour::cpu {
namespace {

std::unique_ptr<Kernel> emaWeight(const Instruction& instruction, PrepareContext&) {
  const EmaWeight operands = emaWeightOf(instruction);
  return makeKernel([rate = operands.rate.as<float>(), updates = operands.updates.as<float>(),
                     factor = operands.factor == nullptr ? nullptr : operands.factor->as<float>(),
                     weight = operands.weight.as<float>()](Stream&) {
    const bool skips = *rate == 0 || (factor != nullptr && *factor == 0);
    *weight = skips ? 0 : *updates == 0 ? 1 : *rate;
    if (!skips) ++*updates;
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"ema-weight",
       {"rate:f32[1] updates:f32[1] factor?:f32[1] -> updates:f32[1] weight:f32[1]", emaWeight}}};
});

}  // namespace

}  // namespace onehour::cpu
