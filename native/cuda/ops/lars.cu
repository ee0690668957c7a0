// The factor by which LARS multiplies the rate of each tensor: one thread a tensor.
#include "../../core/ops/norms.h"
#include "../runtime/cuda.h"
#include "../runtime/upload.h"
#include "../tiling/tiling.h"
#include "kernels.h"

namespace onehour::cuda {
namespace {

constexpr int threads = 128;  // of a block

__global__ void __launch_bounds__(threads)
    larsTrustKernel(const float* norms, const LarsTensor* tensors, int count, double coefficient,
                    float* trust) {
  const int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (i >= count) return;
  const double weights = sqrt(static_cast<double>(norms[3 * i]));
  const double gradients = sqrt(static_cast<double>(norms[3 * i + 1]));
  const LarsTensor own = tensors[i];
  const bool adapts = own.adapts && weights > 0 && gradients > 0;
  const double ratio = coefficient * weights / (gradients + own.decay * weights);
  trust[i] = adapts ? static_cast<float>(ratio) : 1;
}

std::unique_ptr<Kernel> larsTrust(const Instruction& instruction, PrepareContext& context) {
  const LarsTrust operands = larsTrustOf(instruction);
  const auto count = static_cast<int>(operands.tensors.size());
  return makeKernel([norms = operands.norms.as<float>(), trust = operands.trust.as<float>(), count,
                     coefficient = operands.coefficient, kernel = LoadedKernel(larsTrustKernel),
                     tensors = upload(operands.tensors, context.backend)](Stream& stream) {
    const auto blocks = static_cast<unsigned>(ceilDivide(count, threads));
    launch(kernel, dim3(blocks), dim3(threads), stream, norms,
           static_cast<const LarsTensor*>(tensors.get()), count, coefficient, trust);
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {{"lars-trust", {"norms:f32[S,3] -> trust:f32[S]", larsTrust}}};
});

}  // namespace

}  // namespace onehour::cuda
