// Dynamic loss scaling: whether a step is taken, and the scale of the next. One block.
#include "../../core/ops/norms.h"
#include "../runtime/cuda.h"
#include "../tiling/block-reduce.cuh"
#include "kernels.h"

namespace onehour::cuda {
namespace {

constexpr int threads = 256;  // of a block

__global__ void __launch_bounds__(threads)
    lossScaleKernel(float* norms, int tensors, Scaling* scaling, float* factor, float interval) {
  double notFinite = 0;
  for (int i = static_cast<int>(threadIdx.x); i < tensors; i += threads) {
    notFinite += norms[3 * i + 2];
  }
  const bool skips = blockReduce<Sum>(notFinite) > 0;
  const float inverse = 1 / scaling->scale;
  for (int i = static_cast<int>(threadIdx.x); i < tensors && !skips; i += threads) {
    const double squares = norms[3 * i + 1];
    norms[3 * i + 1] = static_cast<float>(squares * inverse * inverse);
  }
  __syncthreads();  // every thread has read the scale
  if (threadIdx.x != 0) return;
  *factor = skips ? 0 : inverse;
  if (skips) {
    scaling->scale = fmaxf(scaling->scale / 2, leastScale);
    scaling->good = 0;
    scaling->skipped += 1;
  } else if (++scaling->good >= interval) {
    scaling->good = 0;
    if (isfinite(2 * scaling->scale)) scaling->scale *= 2;
  }
}

std::unique_ptr<Kernel> lossScale(const Instruction& instruction, PrepareContext&) {
  const LossScale operands = lossScaleOf(instruction);
  return makeKernel(
      [norms = operands.norms.as<float>(), tensors = static_cast<int>(operands.norms.shape[0]),
       scaling = operands.scaling.as<Scaling>(), factor = operands.factor.as<float>(),
       interval = operands.interval, kernel = LoadedKernel(lossScaleKernel)](Stream& stream) {
        launch(kernel, dim3(1), dim3(threads), stream, norms, tensors, scaling, factor, interval);
      });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {{"loss-scale",
           {"norms:f32[S,3] scaling:f32[3] -> norms:f32[S,3] scaling:f32[3] factor:f32[1]",
            lossScale}}};
});

}  // namespace

}  // namespace onehour::cuda
