// Two batch norms that are added, in one pass: forward, the sums of their gradients, and the
// gradients.
#include "../../core/ops/batch-norm-pair.h"

#include <cmath>

#include "../../core/ops/dispatch.h"
#include "../runtime/parallel.h"
#include "../runtime/simd.h"
#include "batch-norm.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

Affine affineOf(const BatchNormOfPair& norm) {
  return {norm.mean, norm.inverseStd, norm.gamma, norm.beta};
}

// A scratch for each of the two.
template <typename Each>
struct PairScratch {
  Each first, second;
  PairScratch(Scratch& scratch, const Layout& layout, int = 0)
      : first(scratch, layout), second(scratch, layout) {}
};

template <typename T, bool relu, bool masks>
void applyRange(const T* x, const T* x2, T* y, uint8_t* mask, int64_t count,
                const PairScratch<AffineScratch>& affine, int64_t lanes) {
  simd([=, a = affine.first, b = affine.second]() ONEHOUR_INLINE {
    for (int64_t at = 0; at < count; at += lanes) {
      const int64_t length = count - at < lanes ? count - at : lanes;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        float value = normalized(load(x[at + i]), a.mean[i], a.scale[i], a.beta[i]) +
                      normalized(load(x2[at + i]), b.mean[i], b.scale[i], b.beta[i]);
        if constexpr (relu) value = value < 0 ? 0.0f : value;
        y[at + i] = store<T>(value);
      }
      if constexpr (masks) packMask(y + at, length, mask + at / maskLanes<T>);
    }
  });
}

std::unique_ptr<Kernel> apply(const Instruction& instruction, PrepareContext&) {
  const BatchNormApplyPair op(instruction);
  const Layout layout = layoutOf(op.y);
  return withType(op.y.type, [&](auto tag) {
    using T = decltype(tag);
    return withFlag(op.relu, [&](auto relu) {
      return withFlag(op.mask != nullptr, [&](auto masks) {
        return makeKernel(
            [layout, first = affineOf(op.first), second = affineOf(op.second),
             x = op.first.x.as<T>(), x2 = op.second.x.as<T>(), y = op.y.as<T>(),
             mask = op.mask](Stream& stream) {
              Scratch scratch(stream.workspace());
              const PairScratch<AffineScratch> affine(scratch, layout);
              first.fill(layout, affine.first);
              second.fill(layout, affine.second);
              parallelRanges(threadsFor(layout.count), layout.count, layout.lanes,
                             [&](int, int64_t begin, int64_t end) {
                               applyRange<T, decltype(relu)::value, decltype(masks)::value>(
                                   x + begin, x2 + begin, y + begin, mask + begin / maskLanes<T>,
                                   end - begin, affine, layout.lanes);
                             });
            },
            scratchBytes<PairScratch<AffineScratch>>(layout, 1));
      });
    });
  });
}

template <typename T>
struct ReduceInputs {
  const T* dy;
  const T* dy2;  // nullptr: none
  const T* x;
  const T* x2;
  const uint8_t* mask;
  T* dz;
};

// Means repeated to the lanes, and Σdz, Σdz·(x − mean) and Σdz·(x2 − mean2).
struct ReduceScratch {
  float* mean;
  float* mean2;
  SumScratch<3> sums;
  ReduceScratch(Scratch& scratch, const Layout& layout, int threads)
      : mean(scratch.take<float>(layout.lanes)),
        mean2(scratch.take<float>(layout.lanes)),
        sums(scratch, layout, threads) {}
};

// The sums of a tile, and its dz.
template <typename T, bool second>
void addGradients(const ReduceInputs<T>& in, int64_t begin, int64_t count, const float* means,
                  const float* means2, const Sums<3>& sums, int64_t lanes) {
  simd([in, begin, count, means, means2, sums, lanes]() ONEHOUR_INLINE {
    alignas(64) uint32_t words[kMaskStep];
    const int64_t step = kMaskStep < lanes ? kMaskStep : lanes;
    for (int64_t row = begin; row < begin + count; row += lanes) {
      const int64_t left = begin + count - row;
      const int64_t width = left < lanes ? left : lanes;
      for (int64_t column = 0; column < width; column += step) {
        const int64_t length = width - column < step ? width - column : step;
        const int64_t at = row + column;
        const T* dy = in.dy + at;
        const T* dy2 = in.dy2 + (second ? at : 0);
        const T* x = in.x + at;
        const T* x2 = in.x2 + at;
        T* dz = in.dz + at;
        const float* mean = means + column;
        const float* mean2 = means2 + column;
        float* sum = sums.tile[0] + column;
        float* product = sums.tile[1] + column;
        float* product2 = sums.tile[2] + column;
        unpackMask<T>(in.mask + at / maskLanes<T>, length, words);
#pragma GCC ivdep
        for (int64_t i = 0; i < length; ++i) {
          float gradient = load(dy[i]);
          if constexpr (second) gradient += load(dy2[i]);
          gradient = words[i] != 0 ? gradient : 0.0f;
          dz[i] = store<T>(gradient);
          sum[i] += gradient;
          product[i] += gradient * (load(x[i]) - mean[i]);
          product2[i] += gradient * (load(x2[i]) - mean2[i]);
        }
      }
    }
  });
}

std::unique_ptr<Kernel> reduce(const Instruction& instruction, PrepareContext& context) {
  const BatchNormReducePair op(instruction);
  const Layout layout = layoutOf(op.dy);
  return withType(op.dy.type, [&](auto tag) {
    using T = decltype(tag);
    const ReduceInputs<T> in{op.dy.as<T>(),
                             op.dy2 == nullptr ? nullptr : op.dy2->as<T>(),
                             op.first.x.as<T>(),
                             op.second.x.as<T>(),
                             op.mask,
                             op.dz.as<T>()};
    return withFlag(op.dy2 != nullptr, [&](auto second) {
      return makeKernel(
          [layout, in, mean = op.first.mean, mean2 = op.second.mean,
           inverseStd = op.first.inverseStd, inverseStd2 = op.second.inverseStd, sums = op.sums,
           sums2 = op.sums2](Stream& stream) {
            Scratch memory(stream.workspace());
            const ReduceScratch scratch(memory, layout, threadsFor(layout.count));
            std::copy_n(mean, layout.channels, scratch.mean);
            std::copy_n(mean2, layout.channels, scratch.mean2);
            repeat(layout, scratch.mean);
            repeat(layout, scratch.mean2);
            reduceTiles(
                layout, scratch.sums,
                [&](int64_t begin, int64_t count, const Sums<3>& to) {
                  addGradients<T, decltype(second)::value>(in, begin, count, scratch.mean,
                                                           scratch.mean2, to, layout.lanes);
                },
                [&](int64_t c, const auto& totals) {
                  finishSums(sums, layout, inverseStd, c, totals[0], totals[1]);
                  finishSums(sums2, layout, inverseStd2, c, totals[0], totals[2]);
                });
          },
          scratchBytes<ReduceScratch>(layout, maximalThreads(context)));
    });
  });
}

template <typename T>
void backwardRange(const T* dz, const T* x, const T* x2, T* dx, T* dx2, int64_t count,
                   const PairScratch<BackwardScratch>& scratch, int64_t lanes) {
  simd([=, a = scratch.first, b = scratch.second]() ONEHOUR_INLINE {
    for (int64_t at = 0; at < count; at += lanes) {
      const int64_t length = count - at < lanes ? count - at : lanes;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        const float gradient = load(dz[at + i]);
        const float value = load(x[at + i]) - a.affine.mean[i];
        const float value2 = load(x2[at + i]) - b.affine.mean[i];
        dx[at + i] = store<T>(
            std::fma(a.affine.scale[i], gradient, std::fma(a.slope[i], value, a.offset[i])));
        dx2[at + i] = store<T>(
            std::fma(b.affine.scale[i], gradient, std::fma(b.slope[i], value2, b.offset[i])));
      }
    }
  });
}

std::unique_ptr<Kernel> backward(const Instruction& instruction, PrepareContext&) {
  const BatchNormBackwardPair op(instruction);
  const Layout layout = layoutOf(op.dz);
  return withType(op.dz.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel(
        [layout, first = affineOf(op.first), second = affineOf(op.second), sums = op.sums,
         sums2 = op.sums2, rows = op.count, dz = op.dz.as<T>(), x = op.first.x.as<T>(),
         x2 = op.second.x.as<T>(), dx = op.dx.as<T>(), dx2 = op.dx2.as<T>()](Stream& stream) {
          Scratch memory(stream.workspace());
          const PairScratch<BackwardScratch> scratch(memory, layout);
          scratch.first.fill(layout, first, sums, rows);
          scratch.second.fill(layout, second, sums2, rows);
          parallelRanges(threadsFor(layout.count), layout.count, layout.lanes,
                         [&](int, int64_t begin, int64_t end) {
                           backwardRange(dz + begin, x + begin, x2 + begin, dx + begin, dx2 + begin,
                                         end - begin, scratch, layout.lanes);
                         });
        },
        scratchBytes<PairScratch<BackwardScratch>>(layout, 1));
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"batch-norm-apply-pair",
       {"x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta:f32[C] x2:T[N,H,W,C] "
        "mean2:f32[C] inverse-std2:f32[C] gamma2:f32[C] beta2:f32[C] -> y:T[N,H,W,C] "
        "mask?:u8[N,H,W,B]",
        apply}},
      {"batch-norm-backward-pair",
       {"dz:T[N,H,W,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] sums:f32[2C] "
        "x2:T[N,H,W,C] mean2:f32[C] inverse-std2:f32[C] gamma2:f32[C] sums2:f32[2C] -> "
        "dx:T[N,H,W,C] dx2:T[N,H,W,C]",
        backward}},
      {"batch-norm-reduce-pair",
       {"dy:T[N,H,W,C] dy2?:T[N,H,W,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] x2:T[N,H,W,C] "
        "mean2:f32[C] inverse-std2:f32[C] mask:u8[N,H,W,B] dgamma?:f32[C] dbeta?:f32[C] "
        "dgamma2?:f32[C] dbeta2?:f32[C] -> sums:f32[2C] dgamma:f32[C] dbeta:f32[C] sums2:f32[2C] "
        "dgamma2:f32[C] dbeta2:f32[C] dz:T[N,H,W,C]",
        reduce}},
  };
});

}  // namespace

}  // namespace onehour::cpu
