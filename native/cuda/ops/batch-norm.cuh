// What forward and backward of batch normalisation share: the tiling of a tensor, the vectors of a
// normalisation and the normalisation itself.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "../../core/ops/batch-norm.h"
#include "../tiling/rows.cuh"
#include "kernels.h"

namespace onehour::cuda {

// y before the residual and ReLU. Backward recomputes its sign, so forward and backward share this
// expression: a subtraction and one explicit fma, which no compiler contracts further.
__device__ __forceinline__ float normalized(float x, float mean, float scale, float beta) {
  return fmaf(x - mean, scale, beta);
}

// ReLU's mask is that of the stored y: backward takes what is above this for positive. f16 rounds
// up to half of its smallest number, 2⁻²⁴, to zero.
template <typename T>
constexpr float storedAsZero = std::is_same_v<T, f16> ? 0x1p-25f : 0.0f;

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

// What a channel's statistics become, over all ranks of its group.
__device__ __forceinline__ void finalizeChannel(const BatchNormFinalize& op, int64_t channel,
                                                double count, double mean, double m2) {
  op.mean[channel] = static_cast<float>(mean);
  op.inverseStd[channel] = static_cast<float>(1 / sqrt(m2 / count + op.epsilon));
  op.newMean[channel] = static_cast<float>(op.decay * op.oldMean[channel] + op.gain * mean);
  const double unbiased = m2 / fmax(count - 1, 1.0);
  op.newVariance[channel] =
      static_cast<float>(op.decay * op.oldVariance[channel] + op.gain * unbiased);
}

// (mean, M2, count) of a channel from its sums over `rows` values, and, where `finalize` is one,
// what finalize makes of them.
struct FinishStatistics {
  int64_t rows, channels;
  float* statistics;
  BatchNormFinalize finalize;

  __device__ __forceinline__ void operator()(int64_t channel, double sum, double square) const {
    const double count = static_cast<double>(rows);
    const double m2 = square - sum * (sum / count);
    const float stored[] = {static_cast<float>(sum / count), static_cast<float>(m2 < 0 ? 0 : m2)};
    statistics[channel] = stored[0];
    statistics[channels + channel] = stored[1];
    if (channel == 0) statistics[2 * channels] = static_cast<float>(rows);
    if (finalize.mean != nullptr) {
      finalizeChannel(finalize, channel, static_cast<float>(rows), stored[0], stored[1]);
    }
  }
};

// The byte of a ReLU's mask for a thread's access, at `bytes` from element `base`.
template <int lanes, typename Byte>
__device__ __forceinline__ Byte* maskAt(Byte* mask, int64_t base, uint32_t bytes) {
  return mask + base / lanes + bytes / static_cast<uint32_t>(accessBytes);
}

// overRows with what the mask holds for each access: calls `body(packs, bits, bytes)`.
template <int batch, int lanes, typename T, int streams, typename Body>
__device__ __forceinline__ void overMaskedRows(const RowTile& tile, const T* const (&from)[streams],
                                               const uint8_t* mask, Body&& body) {
  struct Held {
    Packs<T, lanes, streams> packs;
    uint32_t bits;
  };
  overPlaces<batch, T>(
      tile,
      [&](uint32_t bytes) {
        Held held;
        held.packs.template read<false>(from, tile, bytes);
        held.bits = *maskAt<lanes>(mask, tile.base, bytes);
        return held;
      },
      [&](const Held& held, uint32_t bytes) { body(held.packs.of, held.bits, bytes); });
}

// Masks and pairs are for tensors that are walked 16 bytes at a time.
inline void requireAligned(const Instruction& instruction, const Operand& x, bool wide) {
  if (wide) return;
  shapeError(instruction, "channels and addresses in multiples of 16 bytes", x);
}

// ReLU of what apply computed, its mask where that is wanted, and y.
template <typename T, int lanes>
__device__ __forceinline__ void writeApplied(float (&value)[lanes], T* y, uint8_t* mask, bool relu,
                                             int64_t base, uint32_t bytes) {
#pragma unroll
  for (int j = 0; j < lanes; ++j) value[j] = relu && value[j] < 0 ? 0.0f : value[j];
  const auto pack = Pack<T, lanes>::of(value);
  pack.write(placeOf(y, base, bytes));
  if (mask == nullptr) return;
  if constexpr (std::is_same_v<T, f16>) pack.unpack(value);  // where small ones are stored as 0
  uint32_t bits = 0;
#pragma unroll
  for (int j = 0; j < lanes; ++j) bits |= static_cast<uint32_t>(value[j] > 0) << j;
  *maskAt<lanes>(mask, base, bytes) = static_cast<uint8_t>(bits);
}

// What a channel's Σdz and Σdz·(x − mean) become.
struct FinishReduce {
  int64_t channels;
  const float* inverseStd;
  BatchNormSums to;

  __device__ __forceinline__ void operator()(int64_t channel, double sum, double product) const {
    const float db = static_cast<float>(sum);
    const float dg = static_cast<float>(product * inverseStd[channel]);
    to.sums[channel] = db;
    to.sums[channels + channel] = dg;
    to.dbeta[channel] = to.accumulate ? to.dbeta[channel] + db : db;
    to.dgamma[channel] = to.accumulate ? to.dgamma[channel] + dg : dg;
  }
};

inline Affine affineOf(const BatchNormApply& op) {
  return {op.mean, op.inverseStd, op.variance, op.epsilon, op.gamma, op.beta};
}

// The gradient of the normalisation's input: dx = scale·dz + slope·(x − mean) + offset.
struct Gradient {
  Affine affine;
  const float* sums;  // Σdz [C], Σdz·x̂ [C]
  double count;       // M of the sums

  Gradient(const Affine& affine_, const float* sums_, double count_)
      : affine(affine_), sums(sums_), count(count_) {}
  explicit Gradient(const BatchNormBackward& op)
      : Gradient({op.mean, op.inverseStd, nullptr, 0, op.gamma, op.beta}, op.sums, op.count) {}

  // mean, scale, slope and offset of a channel.
  __device__ void fill(int64_t channel, int64_t channels, float* values) const {
    const float scale = affine.scale(channel);
    const double share = -static_cast<double>(scale) / count;
    values[0] = affine.mean[channel];
    values[1] = scale;
    values[2] = static_cast<float>(share * affine.inverseStd[channel] * sums[channels + channel]);
    values[3] = static_cast<float>(share * sums[channel]);
  }
};

__device__ __forceinline__ float gradientOf(float dz, float x, float mean, float scale, float slope,
                                            float offset) {
  return fmaf(scale, dz, fmaf(slope, x - mean, offset));
}

inline RowTiling tilingOf(const Operand& x, int lanes, PrepareContext& context) {
  const int64_t channels = x.shape.back();
  return rowTiling(x.count() / channels, channels, lanes, traitsOf(context).multiprocessors);
}

}  // namespace onehour::cuda
