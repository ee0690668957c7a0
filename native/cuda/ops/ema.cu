// The weight of a step in a moving average of the weights. One thread.
#include "../../core/ops/ema.h"
#include "../runtime/cuda.h"
#include "kernels.h"

namespace onehour::cuda {
namespace {

__global__ void emaWeightKernel(const float* rate, float* updates, const float* factor,
                                float* weight) {
  const bool skips = *rate == 0 || (factor != nullptr && *factor == 0);
  *weight = skips ? 0 : *updates == 0 ? 1 : *rate;
  if (!skips) *updates += 1;
}

std::unique_ptr<Kernel> emaWeight(const Instruction& instruction, PrepareContext&) {
  const EmaWeight operands = emaWeightOf(instruction);
  return makeKernel(
      [rate = operands.rate.as<const float>(), updates = operands.updates.as<float>(),
       factor = operands.factor == nullptr ? nullptr : operands.factor->as<const float>(),
       weight = operands.weight.as<float>(),
       kernel = LoadedKernel(emaWeightKernel)](Stream& stream) {
        launch(kernel, dim3(1), dim3(1), stream, rate, updates, factor, weight);
      });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"ema-weight",
       {"rate:f32[1] updates:f32[1] factor?:f32[1] -> updates:f32[1] weight:f32[1]", emaWeight}}};
});

}  // namespace

}  // namespace onehour::cuda
