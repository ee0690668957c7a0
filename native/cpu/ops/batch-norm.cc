// Batch normalisation forward, in the split form that a synchronised one needs: local statistics,
// their merge, and the normalisation.
#include "batch-norm.h"

#include <algorithm>
#include <cmath>

#include "../../core/ops/dispatch.h"
#include "../runtime/parallel.h"
#include "../runtime/simd.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

// Asks for the cache lines 8 KiB after a block. Loops that only read get up to twice the bandwidth
// this way; those that also write gain nothing.
template <typename T>
ONEHOUR_INLINE inline void prefetch(const T* block, int64_t count) {
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(64 / sizeof(T))) {
    __builtin_prefetch(reinterpret_cast<const char*>(block + i) + 8192);
  }
}

// Σ(x − pivot) and Σ(x − pivot)² of a tile. Four blocks at a time, so that the sums are loaded and
// stored once for four loads of x.
template <typename T>
void addMoments(const T* x, int64_t count, const float* pivot, const Sums<>& sums, int64_t lanes) {
  simd([x, count, pivot, sum = sums.tile[0], square = sums.tile[1], lanes]() ONEHOUR_INLINE {
    int64_t at = 0;
    for (; at + 4 * lanes <= count; at += 4 * lanes) {
      const T* x0 = x + at;
      const T* x1 = x0 + lanes;
      const T* x2 = x1 + lanes;
      const T* x3 = x2 + lanes;
      prefetch(x0, 4 * lanes);
#pragma GCC ivdep
      for (int64_t i = 0; i < lanes; ++i) {
        const float p = pivot[i];
        const float a = load(x0[i]) - p, b = load(x1[i]) - p;
        const float c = load(x2[i]) - p, d = load(x3[i]) - p;
        sum[i] += (a + b) + (c + d);
        square[i] += (a * a + b * b) + (c * c + d * d);
      }
    }
    for (; at < count; at += lanes) {
      const int64_t length = count - at < lanes ? count - at : lanes;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        const float a = load(x[at + i]) - pivot[i];
        sum[i] += a;
        square[i] += a * a;
      }
    }
  });
}

// A value near each channel's mean: the mean of up to 16 rows spread over the tensor.
template <typename T>
void findPivot(const T* x, const Layout& layout, float* pivot) {
  const int64_t rows = std::min<int64_t>(16, layout.rows());
  std::fill_n(pivot, layout.channels, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = x + layout.rows() * r / rows * layout.channels;
    for (int64_t c = 0; c < layout.channels; ++c) pivot[c] += load(row[c]);
  }
  for (int64_t c = 0; c < layout.channels; ++c) {
    pivot[c] /= static_cast<float>(rows);
    if (!std::isfinite(pivot[c])) pivot[c] = 0;  // the sums themselves say that x is not finite
  }
  repeat(layout, pivot);
}

struct StatisticsScratch {
  float* pivot;
  SumScratch<> sums;
  StatisticsScratch(Scratch& scratch, const Layout& layout, int threads)
      : pivot(scratch.take<float>(layout.lanes)), sums(scratch, layout, threads) {}
};

template <typename T>
void statisticsOf(const T* x, const Layout& layout, const StatisticsScratch& scratch,
                  float* statistics) {
  findPivot(x, layout, scratch.pivot);
  const double rows = static_cast<double>(layout.rows());
  reduceTiles(
      layout, scratch.sums,
      [&](int64_t first, int64_t count, const Sums<>& sums) {
        addMoments(x + first, count, scratch.pivot, sums, layout.lanes);
      },
      [&](int64_t c, const auto& totals) {
        const auto [sum, square] = totals;
        statistics[c] = static_cast<float>(scratch.pivot[c] + sum / rows);
        const double m2 = square - sum * sum / rows;
        statistics[layout.channels + c] = static_cast<float>(m2 < 0 ? 0 : m2);
      });
  statistics[2 * layout.channels] = static_cast<float>(rows);
}

std::unique_ptr<Kernel> statistics(const Instruction& instruction, PrepareContext& context) {
  const BatchNormStatistics op(instruction);
  const Layout layout = layoutOf(op.x);
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel(
        [layout, x = op.x.as<T>(), output = op.statistics](Stream& stream) {
          Scratch scratch(stream.workspace());
          statisticsOf(x, layout, StatisticsScratch(scratch, layout, threadsFor(layout.count)),
                       output);
        },
        scratchBytes<StatisticsScratch>(layout, maximalThreads(context)));
  });
}

// Merges the ranks' (mean, M2, count) in rank order (Chan, Golub and LeVeque's update, fp64).
std::unique_ptr<Kernel> finalize(const Instruction& instruction, PrepareContext&) {
  return makeKernel([op = BatchNormFinalize(instruction)](Stream&) {
    const auto& [ranks, channels, all, mean, inverseStd, oldMean, oldVariance, newMean, newVariance,
                 epsilon, decay, gain] = op;
    const int64_t width = 2 * channels + 1;
    for (int64_t c = 0; c < channels; ++c) {
      double count = all[2 * channels];
      double average = all[c];
      double m2 = all[channels + c];
      for (int64_t r = 1; r < ranks; ++r) {
        const float* other = all + r * width;
        const double otherCount = other[2 * channels];
        const double sum = count + otherCount;
        if (!(sum > 0)) continue;
        const double delta = other[c] - average;
        average += delta * otherCount / sum;
        m2 += other[channels + c] + delta * delta * count * otherCount / sum;
        count = sum;
      }
      mean[c] = static_cast<float>(average);
      inverseStd[c] = static_cast<float>(1 / std::sqrt(m2 / count + epsilon));
      newMean[c] = static_cast<float>(decay * oldMean[c] + gain * average);
      newVariance[c] =
          static_cast<float>(decay * oldVariance[c] + gain * (m2 / std::max(count - 1, 1.0)));
    }
  });
}

template <typename T, bool relu, bool residual, bool masks>
void applyRange(const T* x, const T* z, T* y, uint8_t* mask, int64_t count,
                const AffineScratch& affine, int64_t lanes) {
  simd([=, mean = affine.mean, scale = affine.scale, beta = affine.beta]() ONEHOUR_INLINE {
    for (int64_t at = 0; at < count; at += lanes) {
      const int64_t length = count - at < lanes ? count - at : lanes;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        float value = normalized(load(x[at + i]), mean[i], scale[i], beta[i]);
        if constexpr (residual) value += load(z[at + i]);
        if constexpr (relu) value = value < 0 ? 0.0f : value;
        y[at + i] = store<T>(value);
      }
      if constexpr (masks) packMask(y + at, length, mask + at / maskLanes<T>);
    }
  });
}

std::unique_ptr<Kernel> makeApply(const BatchNormApply& op) {
  const Layout layout = layoutOf(op.x);
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    return withFlag(op.relu, [&](auto relu) {
      return withFlag(op.residual != nullptr, [&](auto hasResidual) {
        return withFlag(op.mask != nullptr, [&](auto masks) {
          return makeKernel(
              [layout, from = affineOf(op), x = op.x.as<T>(), y = op.y.as<T>(), mask = op.mask,
               z = op.residual == nullptr ? nullptr : op.residual->as<T>()](Stream& stream) {
                Scratch scratch(stream.workspace());
                const AffineScratch affine(scratch, layout);
                from.fill(layout, affine);
                parallelRanges(threadsFor(layout.count), layout.count, layout.lanes,
                               [&](int, int64_t begin, int64_t end) {
                                 applyRange<T, decltype(relu)::value, decltype(hasResidual)::value,
                                            decltype(masks)::value>(
                                     x + begin, z + begin, y + begin, mask + begin / maskLanes<T>,
                                     end - begin, affine, layout.lanes);
                               });
              },
              scratchBytes<AffineScratch>(layout, 1));
        });
      });
    });
  });
}

std::unique_ptr<Kernel> apply(const Instruction& instruction, PrepareContext&) {
  return makeApply(BatchNormApply(instruction, false));
}

std::unique_ptr<Kernel> inference(const Instruction& instruction, PrepareContext&) {
  return makeApply(BatchNormApply(instruction, true));
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"batch-norm-apply",
       {"x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta:f32[C] residual?:T[N,H,W,C] "
        "-> y:T[N,H,W,C] mask?:u8[N,H,W,B]",
        apply}},
      {"batch-norm-finalize",
       {"statistics:f32[G,2C+1] running-mean:f32[C] running-variance:f32[C] -> mean:f32[C] "
        "inverse-std:f32[C] running-mean:f32[C] running-variance:f32[C]",
        finalize}},
      {"batch-norm-inference",
       {"x:T[N,H,W,C] running-mean:f32[C] running-variance:f32[C] gamma:f32[C] beta:f32[C] "
        "residual?:T[N,H,W,C] -> y:T[N,H,W,C]",
        inference}},
      {"batch-norm-statistics", {"x:T[N,H,W,C] -> statistics:f32[1,2C+1]", statistics}},
  };
});

}  // namespace

}  // namespace onehour::cpu
