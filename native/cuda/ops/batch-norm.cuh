// What forward and backward of batch normalisation share: the tiling of a tensor, the vectors of a
// normalisation and the normalisation itself.
#pragma once

#include <cmath>
#include <cstdint>

#include "../../core/ops/batch-norm.h"
#include "../tiling/rows.cuh"
#include "kernels.h"

namespace onehour::cuda {

// y before the residual and ReLU. Backward recomputes its sign, so forward and backward share this
// expression: a subtraction and one explicit fma, which no compiler contracts further.
__device__ __forceinline__ float normalized(float x, float mean, float scale, float beta) {
  return fmaf(x - mean, scale, beta);
}

// The vectors of a normalisation as the program holds them.
struct Affine {
  const float* mean;
  const float* inverseStd;  // nullptr: from the variance
  const float* variance;
  double epsilon;
  const float* gamma;
  const float* beta;  // nullptr: not used

  // γ/σ.
  __device__ float scale(int64_t channel) const {
    if (inverseStd != nullptr) return gamma[channel] * inverseStd[channel];
    return static_cast<float>(gamma[channel] / sqrt(variance[channel] + epsilon));
  }
};

inline RowTiling tilingOf(const Operand& x, int lanes, PrepareContext& context) {
  const int64_t channels = x.shape.back();
  return rowTiling(x.count() / channels, channels, lanes, traitsOf(context).multiprocessors);
}

}  // namespace onehour::cuda
