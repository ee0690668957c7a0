// Batch normalisation backward, in the split form that a synchronised one needs: its two sums, and
// the gradient that they give.
#include "../../core/ops/dispatch.h"
#include "batch-norm.cuh"
#include "kernels.h"

namespace onehour::cuda {
namespace {

// ----------------------------------------------------------------------------------------- reduce
template <typename T>
struct ReduceTensors {
  const T* dy;
  const T* x;
  const T* y;           // with Mask::output
  const uint8_t* bits;  // with Mask::bits
  const T* dy2;         // nullptr: none
  T* dz;                // nullptr: not wanted
};

// Σdz and Σdz·(x − mean): reads each of its two to four tensors and the mask once, and writes dz
// where it is wanted. dz may lie where dy or dy2 is.
template <typename T, int lanes, Mask mask, bool second>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    reduceKernel(RowTiling tiling, ReduceTensors<T> in, Affine affine, RowSums sums,
                 FinishReduce finish) {
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), false);
  constexpr bool recomputes = mask == Mask::recomputed;
  float vectors[recomputes ? 3 : 1][lanes];  // mean, and scale and beta for the mask
  channelVectors(tiling, tile, vectors, [&](int64_t channel, auto& values) {
    values[0] = affine.mean[channel];
    if constexpr (recomputes) {
      values[1] = affine.scale(channel);
      values[2] = affine.beta[channel];
    }
  });
  float totals[2][lanes] = {};  // Σdz, Σdz·(x − mean)
  constexpr int maskStream = 2;
  constexpr int secondStream = mask == Mask::output ? 3 : 2;
  const auto add = [&](const auto& packs, uint32_t bits, uint32_t bytes) {
    float gradient[lanes];
    float value[lanes];
    packs[0].unpack(gradient);
    packs[1].unpack(value);
    if constexpr (second) {
      float other[lanes];
      packs[secondStream].unpack(other);
#pragma unroll
      for (int j = 0; j < lanes; ++j) gradient[j] += other[j];
    }
    if constexpr (mask == Mask::output) {
      float y[lanes];
      packs[maskStream].unpack(y);
#pragma unroll
      for (int j = 0; j < lanes; ++j) gradient[j] = y[j] > 0 ? gradient[j] : 0.0f;
    }
    if constexpr (mask == Mask::bits) {
#pragma unroll
      for (int j = 0; j < lanes; ++j) gradient[j] = bits >> j & 1 ? gradient[j] : 0.0f;
    }
#pragma unroll
    for (int j = 0; j < lanes; ++j) {
      if constexpr (recomputes) {
        gradient[j] =
            normalized(value[j], vectors[0][j], vectors[1][j], vectors[2][j]) > storedAsZero<T>
                ? gradient[j]
                : 0.0f;
      }
      totals[0][j] += gradient[j];
      totals[1][j] = fmaf(gradient[j], value[j] - vectors[0][j], totals[1][j]);
    }
    if (in.dz != nullptr) Pack<T, lanes>::of(gradient).write(placeOf(in.dz, tile.base, bytes));
  };
  // As many accesses in flight as the registers allow.
  constexpr int streams = 2 + (mask == Mask::output) + second;
  constexpr bool takesRegisters = recomputes || (mask == Mask::bits && second);
  constexpr int batch = 4 - (streams - 2) - takesRegisters;
  const T* from[streams] = {in.dy, in.x};
  if constexpr (mask == Mask::output) from[maskStream] = in.y;
  if constexpr (second) from[secondStream] = in.dy2;
  if constexpr (mask == Mask::bits) {
    overMaskedRows<batch, lanes>(tile, from, in.bits, add);
  } else {
    overRows<batch, false, lanes>(tile, from,
                                  [&](const auto& packs, uint32_t bytes) { add(packs, 0, bytes); });
  }
  sumRows(tiling, totals, sums, AsTheyAre(), finish);
}

// Calls `body` with the mask as a constant.
template <typename Body>
auto withMask(Mask mask, Body&& body) {
  switch (mask) {
    case Mask::output:
      return body(std::integral_constant<Mask, Mask::output>{});
    case Mask::bits:
      return body(std::integral_constant<Mask, Mask::bits>{});
    case Mask::recomputed:
      return body(std::integral_constant<Mask, Mask::recomputed>{});
    default:
      return body(std::integral_constant<Mask, Mask::none>{});
  }
}

std::unique_ptr<Kernel> reduce(const Instruction& instruction, PrepareContext& context) {
  const BatchNormReduce op(instruction);
  const Affine affine{op.mean, op.inverseStd, nullptr, 0, op.gamma, op.beta};
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    const auto data = [](const Operand* operand) {
      return operand == nullptr ? nullptr : operand->as<T>();
    };
    const ReduceTensors<T> in{op.dy.as<T>(), op.x.as<T>(), data(op.y),
                              op.bits,       data(op.dy2), data(op.dz)};
    const bool wide = dividesInto(lanesOf<T>, op.x.shape.back(), in.dy, in.x, in.y, in.dy2, in.dz);
    if (op.mask == Mask::bits) requireAligned(instruction, op.x, wide);
    return withLanes<T>(wide, [&](auto lanes) {
      const RowTiling tiling = tilingOf(op.x, lanes, context);
      const FinishReduce finish{tiling.channels, op.inverseStd, op.sums};
      return withMask(op.mask, [&](auto mask) {
        return withFlag(in.dy2 != nullptr, [&](auto second) {
          return makeKernel(
              [tiling, in, affine, finish, counters = countersOf(tiling, context),
               kernel = LoadedKernel(reduceKernel<T, decltype(lanes)::value, decltype(mask)::value,
                                                  decltype(second)::value>)](Stream& stream) {
                launchRows(kernel, tiling, stream, in, affine, sumsOf(stream, counters), finish);
              },
              partialBytes(tiling));
        });
      });
    });
  });
}

// --------------------------------------------------------------------------------------- backward
// dx = scale·dz + slope·(x − mean) + offset: reads dz and x and writes dx, once each. It goes from
// the last row of a block to the first: reduce read the same tile the other way, so its end may
// still be in L2. dx may lie where dz is.
template <typename T, int lanes, bool relu>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    backwardKernel(RowTiling tiling, const T* dz, const T* x, T* dx, Gradient from) {
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), true);
  float vectors[relu ? 5 : 4][lanes];  // mean, scale, slope, offset, and beta for the mask
  channelVectors(tiling, tile, vectors, [&](int64_t channel, auto& values) {
    from.fill(channel, tiling.channels, values);
    if constexpr (relu) values[4] = from.affine.beta[channel];
  });
  const T* const tensors[] = {dz, x};
  overRows<4, true, lanes>(tile, tensors, [&](const auto& packs, uint32_t bytes) {
    float gradient[lanes];
    float value[lanes];
    packs[0].unpack(gradient);
    packs[1].unpack(value);
#pragma unroll
    for (int j = 0; j < lanes; ++j) {
      const float mean = vectors[0][j];
      if constexpr (relu) {
        gradient[j] = normalized(value[j], mean, vectors[1][j], vectors[4][j]) > storedAsZero<T>
                          ? gradient[j]
                          : 0.0f;
      }
      gradient[j] =
          gradientOf(gradient[j], value[j], mean, vectors[1][j], vectors[2][j], vectors[3][j]);
    }
    Pack<T, lanes>::of(gradient).write(placeOf(dx, tile.base, bytes));
  });
}

std::unique_ptr<Kernel> backward(const Instruction& instruction, PrepareContext& context) {
  const BatchNormBackward op(instruction);
  const Gradient from(op);
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    const T* dz = op.dz.as<T>();
    const T* x = op.x.as<T>();
    T* dx = op.dx.as<T>();
    return withLanes<T>(dividesInto(lanesOf<T>, op.x.shape.back(), dz, x, dx), [&](auto lanes) {
      return withFlag(op.relu, [&](auto relu) {
        return makeKernel(
            [tiling = tilingOf(op.x, lanes, context), dz, x, dx, from,
             kernel =
                 LoadedKernel(backwardKernel<T, decltype(lanes)::value, decltype(relu)::value>)](
                Stream& stream) { launchRows(kernel, tiling, stream, dz, x, dx, from); });
      });
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

}  // namespace onehour::cuda
