// What forward and backward of batch normalisation share: how a tensor is walked, the sums over it,
// and the normalisation itself.
//
// Every pass streams over the tensor once. A tensor [M, C] is walked in blocks of `lanes` = j·C
// consecutive values, so that a narrow C still fills vectors; lane i belongs to channel i mod C.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "../../core/backend.h"
#include "../../core/ops/batch-norm.h"
#include "../runtime/parallel.h"
#include "../runtime/simd.h"

namespace onehour::cpu {

// Longest run of values of one lane that is summed in fp32 before it goes to fp64.
constexpr int64_t tileRows = 128;

struct Layout {
  int64_t count;     // M·C values
  int64_t channels;  // C
  int64_t lanes;     // values of a block, a multiple of C

  int64_t rows() const { return count / channels; }
};

inline Layout layoutOf(const Operand& x) {
  const int64_t channels = x.shape.back();
  const int64_t copies = std::max<int64_t>(1, std::min<int64_t>(128 / channels, 64));
  return {x.count(), channels, copies * channels};
}

// A vector of C values repeated to the lanes.
inline void repeat(const Layout& layout, float* lanes) {
  for (int64_t i = layout.channels; i < layout.lanes; ++i) lanes[i] = lanes[i - layout.channels];
}

// The workspace of a kernel: arrays of floats and doubles, each on a cache line of its own.
class Scratch {
 public:
  explicit Scratch(void* memory) : memory_(reinterpret_cast<uintptr_t>(memory)) {}
  template <typename T>
  T* take(int64_t count) {
    T* result = reinterpret_cast<T*>(memory_ + used_);
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return result;
  }
  size_t used() const { return used_; }

 private:
  uintptr_t memory_;
  size_t used_ = 0;
};

// Sums of some quantities a lane: fp32 over a tile, fp64 over a thread's tiles.
template <int quantities = 2>
struct Sums {
  float* tile[quantities];
  double* total[quantities];
};

template <int quantities = 2>
struct SumScratch {
  std::vector<Sums<quantities>> threads;
  SumScratch(Scratch& scratch, const Layout& layout, int threads_) : threads(threads_) {
    for (Sums<quantities>& sums : threads) {
      for (float*& tile : sums.tile) tile = scratch.take<float>(layout.lanes);
      for (double*& total : sums.total) total = scratch.take<double>(layout.lanes);
    }
  }
};

// Runs `tile(first, count, sums)` over all tiles, which adds to the fp32 sums, and returns channel
// c's totals through `done(c, totals)`. The order of additions depends only on the layout and the
// number of threads.
template <int quantities, typename Tile, typename Done>
void reduceTiles(const Layout& layout, const SumScratch<quantities>& scratch, const Tile& tile,
                 const Done& done) {
  const int threads = static_cast<int>(scratch.threads.size());
  for (const auto& sums : scratch.threads) {
    for (double* total : sums.total) std::fill_n(total, layout.lanes, 0.0);
  }
  parallelRanges(threads, layout.count, layout.lanes, [&](int thread, int64_t begin, int64_t end) {
    const Sums<quantities>& sums = scratch.threads[thread];
    for (; begin < end; begin += tileRows * layout.lanes) {
      for (float* values : sums.tile) std::fill_n(values, layout.lanes, 0.0f);
      tile(begin, std::min(end - begin, tileRows * layout.lanes), sums);
      simd([sums, lanes = layout.lanes]() ONEHOUR_INLINE {
        for (int k = 0; k < quantities; ++k) {
#pragma GCC ivdep
          for (int64_t i = 0; i < lanes; ++i) sums.total[k][i] += sums.tile[k][i];
        }
      });
    }
  });
  for (int64_t c = 0; c < layout.channels; ++c) {
    double totals[quantities] = {};
    for (const auto& sums : scratch.threads) {
      for (int k = 0; k < quantities; ++k) {
        for (int64_t i = c; i < layout.lanes; i += layout.channels) totals[k] += sums.total[k][i];
      }
    }
    done(c, totals);
  }
}

// Bytes that a constructor of scratch takes for these arguments.
template <typename Arrays>
size_t scratchBytes(const Layout& layout, int threads) {
  Scratch scratch(nullptr);
  Arrays(scratch, layout, threads);
  return scratch.used();
}

inline int maximalThreads(PrepareContext& context) { return context.backend.properties().threads; }

// y before the residual and ReLU. Backward recomputes its sign, so forward and backward share this
// expression: a subtraction and one explicit fma, which no compiler contracts further.
ONEHOUR_INLINE inline float normalized(float x, float mean, float scale, float beta) {
  return std::fma(x - mean, scale, beta);
}

// ReLU's mask is that of the stored y: backward takes what is above this for positive. f16 rounds
// up to half of its smallest number, 2⁻²⁴, to zero.
template <typename T>
constexpr float storedAsZero = std::is_same_v<T, f16> ? 0x1p-25f : 0.0f;

// Elements of a byte of a ReLU's mask.
template <typename T>
constexpr int64_t maskLanes = 16 / sizeof(T);

// Bits of a mask that are packed or unpacked at once, a multiple of every `maskLanes`.
constexpr int64_t kMaskStep = 128;

// The mask of values that are still in the cache: a byte of 0 or 1 for each, in vectors, then a
// product that brings those of a mask's byte together in its highest byte.
template <typename T>
ONEHOUR_INLINE inline void packMask(const T* y, int64_t count, uint8_t* mask) {
  constexpr int64_t lanes = maskLanes<T>;
  using Flags = std::conditional_t<lanes == 8, uint64_t, uint32_t>;
  constexpr Flags gather = lanes == 8 ? 0x0102040810204080 : 0x01020408;
  alignas(64) uint8_t positive[kMaskStep];
  for (int64_t at = 0; at < count; at += kMaskStep) {
    const int64_t length = count - at < kMaskStep ? count - at : kMaskStep;
    for (int64_t i = 0; i < length; ++i) positive[i] = load(y[at + i]) > 0;
    for (int64_t i = 0; i < length; i += lanes) {
      Flags flags;
      std::memcpy(&flags, positive + i, sizeof flags);
      mask[(at + i) / lanes] = static_cast<uint8_t>(flags * gather >> 8 * (lanes - 1));
    }
  }
}

// Four bits as words of ones or zeros.
constexpr auto kMaskWords = [] {
  std::array<std::array<uint32_t, 4>, 16> words{};
  for (unsigned bits = 0; bits < 16; ++bits) {
    for (unsigned j = 0; j < 4; ++j) words[bits][j] = 0 - (bits >> j & 1u);
  }
  return words;
}();

// Bit by bit, words of ones or zeros, in fours because that needs a small table.
template <typename T>
ONEHOUR_INLINE inline void unpackMask(const uint8_t* mask, int64_t count, uint32_t* words) {
  for (int64_t i = 0; i < count; i += 4) {
    const unsigned bits = mask[i / maskLanes<T>] >> i % maskLanes<T> & 15;
    std::memcpy(words + i, kMaskWords[bits].data(), 16);
  }
}

// The vectors of a normalisation, repeated to the lanes; scale = γ / σ.
struct AffineScratch {
  float* mean;
  float* scale;
  float* beta;
  AffineScratch(Scratch& scratch, const Layout& layout, int = 0)
      : mean(scratch.take<float>(layout.lanes)),
        scale(scratch.take<float>(layout.lanes)),
        beta(scratch.take<float>(layout.lanes)) {}
};

struct Affine {
  const float* mean;
  const float* inverseStd;
  const float* gamma;               // nullptr: 1
  const float* beta;                // nullptr: 0
  const float* variance = nullptr;  // where there is no inverseStd
  double epsilon = 0;

  float scale(int64_t c) const {
    if (inverseStd == nullptr)
      return static_cast<float>(gamma[c] / std::sqrt(variance[c] + epsilon));
    return (gamma == nullptr ? 1.0f : gamma[c]) * inverseStd[c];
  }

  void fill(const Layout& layout, const AffineScratch& to) const {
    for (int64_t c = 0; c < layout.channels; ++c) {
      to.mean[c] = mean[c];
      to.scale[c] = scale(c);
      to.beta[c] = beta == nullptr ? 0.0f : beta[c];
    }
    for (float* values : {to.mean, to.scale, to.beta}) repeat(layout, values);
  }
};

inline Affine affineOf(const BatchNormApply& op) {
  return {op.mean, op.inverseStd, op.gamma, op.beta, op.variance, op.epsilon};
}

// A channel's gradients and sums, from Σdz and Σdz·(x − mean).
inline void finishSums(const BatchNormSums& to, const Layout& layout, const float* inverseStd,
                       int64_t c, double sum, double product) {
  const float db = static_cast<float>(sum);
  const float dg = static_cast<float>(product * inverseStd[c]);
  to.sums[c] = db;
  to.sums[layout.channels + c] = dg;
  to.dbeta[c] = to.accumulate ? to.dbeta[c] + db : db;
  to.dgamma[c] = to.accumulate ? to.dgamma[c] + dg : dg;
}

// dx = scale·dz + slope·(x − mean) + offset, repeated to the lanes.
struct BackwardScratch {
  AffineScratch affine;
  float* slope;
  float* offset;
  BackwardScratch(Scratch& scratch, const Layout& layout, int = 0)
      : affine(scratch, layout),
        slope(scratch.take<float>(layout.lanes)),
        offset(scratch.take<float>(layout.lanes)) {}

  // `sums` are those of `rows` values a channel.
  void fill(const Layout& layout, const Affine& from, const float* sums, double rows) const {
    from.fill(layout, affine);
    for (int64_t c = 0; c < layout.channels; ++c) {
      const double scale = affine.scale[c];
      offset[c] = static_cast<float>(-scale * sums[c] / rows);
      slope[c] = static_cast<float>(-scale * from.inverseStd[c] * sums[layout.channels + c] / rows);
    }
    repeat(layout, slope);
    repeat(layout, offset);
  }
};

}  // namespace onehour::cpu
