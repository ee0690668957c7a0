// Batch normalisation backward, in the split form that a synchronised one needs: its two sums, and
// the gradient that they give.
#include <cmath>

#include "../../core/ops/dispatch.h"
#include "../runtime/parallel.h"
#include "../runtime/simd.h"
#include "batch-norm.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

struct ReduceScratch {
  AffineScratch affine;
  SumScratch<> sums;
  ReduceScratch(Scratch& scratch, const Layout& layout, int threads)
      : affine(scratch, layout), sums(scratch, layout, threads) {}
};

template <typename T>
struct ReduceInputs {
  const T* dy;
  const T* dy2;  // nullptr: none
  const T* x;
  const T* y;           // with Mask::output
  const uint8_t* bits;  // with Mask::bits
  T* dz;                // nullptr: not wanted
};

// Σdz and Σdz·(x − mean) of a tile; writes dz when it is wanted.
template <typename T, Mask mask, bool second, bool writes>
void addGradients(const ReduceInputs<T>& in, int64_t first, int64_t count,
                  const AffineScratch& affine, const Sums<>& sums, int64_t lanes) {
  simd([in, first, count, affine, sums, lanes]() ONEHOUR_INLINE {
    constexpr bool unpacks = mask == Mask::bits;
    alignas(64) uint32_t words[unpacks ? kMaskStep : 1];
    const int64_t step = unpacks && kMaskStep < lanes ? kMaskStep : lanes;
    for (int64_t row = first; row < first + count; row += lanes) {
      const int64_t left = first + count - row;
      const int64_t width = left < lanes ? left : lanes;
      for (int64_t column = 0; column < width; column += step) {
        const int64_t length = width - column < step ? width - column : step;
        const int64_t at = row + column;
        const T* dy = in.dy + at;
        const T* dy2 = in.dy2 + (second ? at : 0);
        const T* x = in.x + at;
        const T* y = in.y + (mask == Mask::output ? at : 0);
        T* dz = in.dz + (writes ? at : 0);
        const float* mean = affine.mean + column;
        const float* scale = affine.scale + column;
        const float* beta = affine.beta + column;
        float* sum = sums.tile[0] + column;
        float* product = sums.tile[1] + column;
        if constexpr (unpacks) unpackMask<T>(in.bits + at / maskLanes<T>, length, words);
#pragma GCC ivdep
        for (int64_t i = 0; i < length; ++i) {
          float gradient = load(dy[i]);
          if constexpr (second) gradient += load(dy2[i]);
          const float value = load(x[i]);
          if constexpr (mask == Mask::output) gradient = load(y[i]) > 0 ? gradient : 0.0f;
          if constexpr (mask == Mask::recomputed) {
            gradient =
                normalized(value, mean[i], scale[i], beta[i]) > storedAsZero<T> ? gradient : 0.0f;
          }
          if constexpr (unpacks) gradient = words[i] != 0 ? gradient : 0.0f;
          if constexpr (writes) dz[i] = store<T>(gradient);
          sum[i] += gradient;
          product[i] += gradient * (value - mean[i]);
        }
      }
    }
  });
}

template <typename T>
using AddGradients = void (*)(const ReduceInputs<T>&, int64_t, int64_t, const AffineScratch&,
                              const Sums<>&, int64_t);

template <typename T>
AddGradients<T> selectAddGradients(Mask mask, bool second, bool writes) {
  return withFlag(second, [&](auto secondTag) {
    return withFlag(writes, [&](auto writesTag) -> AddGradients<T> {
      constexpr bool two = decltype(secondTag)::value;
      constexpr bool stores = decltype(writesTag)::value;
      switch (mask) {
        case Mask::output:
          return addGradients<T, Mask::output, two, stores>;
        case Mask::bits:
          return addGradients<T, Mask::bits, two, stores>;
        case Mask::recomputed:
          return addGradients<T, Mask::recomputed, two, stores>;
        default:
          return addGradients<T, Mask::none, two, stores>;
      }
    });
  });
}

std::unique_ptr<Kernel> reduce(const Instruction& instruction, PrepareContext& context) {
  const BatchNormReduce op(instruction);
  const Layout layout = layoutOf(op.x);
  const Affine affine{op.mean, op.inverseStd, op.gamma, op.beta};
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    const auto data = [](const Operand* operand) {
      return operand == nullptr ? nullptr : operand->as<T>();
    };
    const ReduceInputs<T> in{op.dy.as<T>(), data(op.dy2), op.x.as<T>(),
                             data(op.y),    op.bits,      data(op.dz)};
    return makeKernel(
        [=, add = selectAddGradients<T>(op.mask, op.dy2 != nullptr, op.dz != nullptr),
         sums = op.sums](Stream& stream) {
          Scratch memory(stream.workspace());
          const ReduceScratch scratch(memory, layout, threadsFor(layout.count));
          affine.fill(layout, scratch.affine);
          reduceTiles(
              layout, scratch.sums,
              [&](int64_t first, int64_t count, const Sums<>& to) {
                add(in, first, count, scratch.affine, to, layout.lanes);
              },
              [&](int64_t c, const auto& totals) {
                finishSums(sums, layout, affine.inverseStd, c, totals[0], totals[1]);
              });
        },
        scratchBytes<ReduceScratch>(layout, maximalThreads(context)));
  });
}

template <typename T, bool relu>
void backwardRange(const T* dz, const T* x, T* dx, int64_t count, const BackwardScratch& scratch,
                   int64_t lanes) {
  simd([=, mean = scratch.affine.mean, scale = scratch.affine.scale, beta = scratch.affine.beta,
        slope = scratch.slope, offset = scratch.offset]() ONEHOUR_INLINE {
    for (int64_t at = 0; at < count; at += lanes) {
      const int64_t length = count - at < lanes ? count - at : lanes;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        const float value = load(x[at + i]);
        float gradient = load(dz[at + i]);
        if constexpr (relu) {
          gradient =
              normalized(value, mean[i], scale[i], beta[i]) > storedAsZero<T> ? gradient : 0.0f;
        }
        dx[at + i] =
            store<T>(std::fma(scale[i], gradient, std::fma(slope[i], value - mean[i], offset[i])));
      }
    }
  });
}

std::unique_ptr<Kernel> backward(const Instruction& instruction, PrepareContext&) {
  const BatchNormBackward op(instruction);
  const Layout layout = layoutOf(op.x);
  const Affine affine{op.mean, op.inverseStd, op.gamma, op.beta};
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    return withFlag(op.relu, [&](auto reluTag) {
      return makeKernel(
          [layout, affine, sums = op.sums, rows = op.count, dz = op.dz.as<T>(), x = op.x.as<T>(),
           dx = op.dx.as<T>()](Stream& stream) {
            Scratch memory(stream.workspace());
            const BackwardScratch scratch(memory, layout);
            scratch.fill(layout, affine, sums, rows);
            parallelRanges(threadsFor(layout.count), layout.count, layout.lanes,
                           [&](int, int64_t begin, int64_t end) {
                             backwardRange<T, decltype(reluTag)::value>(dz + begin, x + begin,
                                                                        dx + begin, end - begin,
                                                                        scratch, layout.lanes);
                           });
          },
          scratchBytes<BackwardScratch>(layout, 1));
    });
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"batch-norm-backward",
       {"dz:T[N,H,W,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta?:f32[C] "
        "sums:f32[2C] -> dx:T[N,H,W,C]",
        backward}},
      {"batch-norm-reduce",
       {"dy:T[N,H,W,C] dy2?:T[N,H,W,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma?:f32[C] "
        "beta?:f32[C] y?:T[N,H,W,C] mask?:u8[N,H,W,B] dgamma?:f32[C] dbeta?:f32[C] -> sums:f32[2C] "
        "dgamma:f32[C] dbeta:f32[C] dz?:T[N,H,W,C]",
        reduce}},
  };
});

}  // namespace

}  // namespace onehour::cpu
