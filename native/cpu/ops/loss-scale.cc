// Dynamic loss scaling: whether a step is taken, and the scale of the next.
#include <algorithm>
#include <cmath>

#include "../../core/ops/norms.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

std::unique_ptr<Kernel> lossScale(const Instruction& instruction, PrepareContext&) {
  const LossScale operands = lossScaleOf(instruction);
  return makeKernel([norms = operands.norms.as<float>(), tensors = operands.norms.shape[0],
                     scaling = operands.scaling.as<Scaling>(), factor = operands.factor.as<float>(),
                     interval = operands.interval](Stream&) {
    double notFinite = 0;
    for (int64_t tensor = 0; tensor < tensors; ++tensor) notFinite += norms[3 * tensor + 2];
    auto& [scale, good, skipped] = *scaling;
    if (notFinite > 0) {
      *factor = 0;
      scale = std::max(scale / 2, leastScale);
      good = 0;
      ++skipped;
      return;
    }
    const float inverse = 1 / scale;
    *factor = inverse;
    if (++good >= interval) {
      good = 0;
      if (std::isfinite(2 * scale)) scale *= 2;
    }
    for (int64_t tensor = 0; tensor < tensors; ++tensor) {
      const double squares = norms[3 * tensor + 1];
      norms[3 * tensor + 1] = static_cast<float>(squares * inverse * inverse);
    }
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {{"loss-scale",
           {"norms:f32[S,3] scaling:f32[3] -> norms:f32[S,3] scaling:f32[3] factor:f32[1]",
            lossScale}}};
});

}  // namespace

}  // namespace onehour::cpu
