// Two batch norms that are added, in one pass: forward, the sums of their gradients, and the
// gradients. Vectors of channels stay in shared memory, since a thread has no registers for those
// of both.
#include "../../core/ops/batch-norm-pair.h"
#include "../../core/ops/dispatch.h"
#include "batch-norm.cuh"
#include "kernels.h"

namespace onehour::cuda {
namespace {

Affine affineOf(const BatchNormOfPair& norm) {
  return {norm.mean, norm.inverseStd, nullptr, 0, norm.gamma, norm.beta};
}

// ------------------------------------------------------------------------------------------ apply
template <typename T>
struct ApplyTensors {
  const T* x[2];
  T* y;           // may lie where one of x is
  uint8_t* mask;  // nullptr: not wanted
};

// Reads both x and writes y and the mask, once each, from the last row of a block to the first.
template <typename T>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    applyPairKernel(RowTiling tiling, ApplyTensors<T> in, Affine first, Affine second, bool relu) {
  constexpr int lanes = lanesOf<T>;
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), true);
  const auto& vectors = blockVectors<6>(tiling, [&](int64_t channel, float(&values)[6]) {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const Affine& affine = k == 0 ? first : second;
      values[3 * k] = affine.mean[channel];
      values[3 * k + 1] = affine.scale(channel);
      values[3 * k + 2] = affine.beta[channel];
    }
  });
  overRows<3, true, lanes>(tile, in.x, [&](const auto& packs, uint32_t bytes) {
    float sum[lanes];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      float value[lanes];
      packs[k].unpack(value);
      float mean[lanes];
      float scale[lanes];
      float beta[lanes];
      readVector(vectors[3 * k], tile, mean);
      readVector(vectors[3 * k + 1], tile, scale);
      readVector(vectors[3 * k + 2], tile, beta);
#pragma unroll
      for (int j = 0; j < lanes; ++j) {
        const float own = normalized(value[j], mean[j], scale[j], beta[j]);
        sum[j] = k == 0 ? own : sum[j] + own;
      }
    }
    writeApplied(sum, in.y, in.mask, relu, tile.base, bytes);
  });
}

std::unique_ptr<Kernel> apply(const Instruction& instruction, PrepareContext& context) {
  const BatchNormApplyPair op(instruction);
  return withType(op.y.type, [&](auto tag) {
    using T = decltype(tag);
    const ApplyTensors<T> in{{op.first.x.as<T>(), op.second.x.as<T>()}, op.y.as<T>(), op.mask};
    requireAligned(instruction, op.y,
                   dividesInto(lanesOf<T>, op.y.shape.back(), in.x[0], in.x[1], in.y));
    return makeKernel([tiling = tilingOf(op.y, lanesOf<T>, context), in, first = affineOf(op.first),
                       second = affineOf(op.second), relu = op.relu,
                       kernel = LoadedKernel(applyPairKernel<T>)](Stream& stream) {
      launchRows(kernel, tiling, stream, in, first, second, relu);
    });
  });
}

// ----------------------------------------------------------------------------------------- reduce
template <typename T>
struct ReduceTensors {
  const T* dy;
  const T* dy2;  // nullptr: none
  const T* x[2];
  const uint8_t* mask;
  T* dz;  // may lie where dy or dy2 is
};

struct FinishPair {
  FinishReduce first, second;

  __device__ __forceinline__ void operator()(int64_t channel, double sum, double product,
                                             double product2) const {
    first(channel, sum, product);
    second(channel, sum, product2);
  }
};

// Σdz, Σdz·(x − mean) and Σdz·(x2 − mean2): reads its tensors and the mask once, and writes dz.
template <typename T, bool second>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    reducePairKernel(RowTiling tiling, ReduceTensors<T> in, const float* mean, const float* mean2,
                     RowSums sums, FinishPair finish) {
  constexpr int lanes = lanesOf<T>;
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), false);
  const auto& means = blockVectors<2>(tiling, [&](int64_t channel, float(&values)[2]) {
    values[0] = mean[channel];
    values[1] = mean2[channel];
  });
  float totals[3][lanes] = {};
  const auto add = [&](const auto& packs, uint32_t bits, uint32_t bytes) {
    float gradient[lanes];
    packs[0].unpack(gradient);
    if constexpr (second) packs[3].addTo(gradient);
#pragma unroll
    for (int j = 0; j < lanes; ++j) {
      gradient[j] = bits >> j & 1 ? gradient[j] : 0.0f;
      totals[0][j] += gradient[j];
    }
    Pack<T, lanes>::of(gradient).write(placeOf(in.dz, tile.base, bytes));
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      float value[lanes];
      float center[lanes];
      packs[1 + k].unpack(value);
      readVector(means[k], tile, center);
#pragma unroll
      for (int j = 0; j < lanes; ++j) {
        totals[1 + k][j] = fmaf(gradient[j], value[j] - center[j], totals[1 + k][j]);
      }
    }
  };
  constexpr int streams = 3 + second;
  const T* from[streams] = {in.dy, in.x[0], in.x[1]};
  if constexpr (second) from[3] = in.dy2;
  constexpr int batch = second && lanes == 8 ? 1 : 2;  // more do not fit into the registers
  overMaskedRows<batch, lanes>(tile, from, in.mask, add);
  sumRows(tiling, totals, sums, AsTheyAre(), finish);
}

std::unique_ptr<Kernel> reduce(const Instruction& instruction, PrepareContext& context) {
  const BatchNormReducePair op(instruction);
  return withType(op.dy.type, [&](auto tag) {
    using T = decltype(tag);
    const ReduceTensors<T> in{op.dy.as<T>(),
                              op.dy2 == nullptr ? nullptr : op.dy2->as<T>(),
                              {op.first.x.as<T>(), op.second.x.as<T>()},
                              op.mask,
                              op.dz.as<T>()};
    requireAligned(
        instruction, op.dy,
        dividesInto(lanesOf<T>, op.dy.shape.back(), in.dy, in.dy2, in.x[0], in.x[1], in.dz));
    const RowTiling tiling = tilingOf(op.dy, lanesOf<T>, context);
    const FinishPair finish{{tiling.channels, op.first.inverseStd, op.sums},
                            {tiling.channels, op.second.inverseStd, op.sums2}};
    return withFlag(in.dy2 != nullptr, [&](auto second) {
      return makeKernel(
          [tiling, in, mean = op.first.mean, mean2 = op.second.mean, finish,
           counters = countersOf(tiling, context),
           kernel = LoadedKernel(reducePairKernel<T, decltype(second)::value>)](Stream& stream) {
            launchRows(kernel, tiling, stream, in, mean, mean2, sumsOf(stream, counters), finish);
          },
          partialBytes(tiling, 3));
    });
  });
}

// --------------------------------------------------------------------------------------- backward
template <typename T>
struct BackwardTensors {
  const T* from[3];  // dz, x, x2
  T* dx[2];          // may lie where dz and where x2 is
};

// Reads dz and both x and writes both dx, once each, from the last row of a block to the first.
template <typename T>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    backwardPairKernel(RowTiling tiling, BackwardTensors<T> in, Gradient first, Gradient second) {
  constexpr int lanes = lanesOf<T>;
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), true);
  const auto& vectors = blockVectors<8>(tiling, [&](int64_t channel, float(&values)[8]) {
    first.fill(channel, tiling.channels, values);
    second.fill(channel, tiling.channels, values + 4);
  });
  overRows<2, true, lanes>(tile, in.from, [&](const auto& packs, uint32_t bytes) {
    float gradient[lanes];
    packs[0].unpack(gradient);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      float value[lanes];
      packs[1 + k].unpack(value);
      float own[4][lanes];  // mean, scale, slope, offset
#pragma unroll
      for (int v = 0; v < 4; ++v) readVector(vectors[4 * k + v], tile, own[v]);
#pragma unroll
      for (int j = 0; j < lanes; ++j) {
        value[j] = gradientOf(gradient[j], value[j], own[0][j], own[1][j], own[2][j], own[3][j]);
      }
      Pack<T, lanes>::of(value).write(placeOf(in.dx[k], tile.base, bytes));
    }
  });
}

std::unique_ptr<Kernel> backward(const Instruction& instruction, PrepareContext& context) {
  const BatchNormBackwardPair op(instruction);
  return withType(op.dz.type, [&](auto tag) {
    using T = decltype(tag);
    const BackwardTensors<T> in{{op.dz.as<T>(), op.first.x.as<T>(), op.second.x.as<T>()},
                                {op.dx.as<T>(), op.dx2.as<T>()}};
    requireAligned(instruction, op.dz,
                   dividesInto(lanesOf<T>, op.dz.shape.back(), in.from[0], in.from[1], in.from[2],
                               in.dx[0], in.dx[1]));
    const Gradient first{affineOf(op.first), op.sums, op.count};
    const Gradient second{affineOf(op.second), op.sums2, op.count};
    return makeKernel([tiling = tilingOf(op.dz, lanesOf<T>, context), in, first, second,
                       kernel = LoadedKernel(backwardPairKernel<T>)](Stream& stream) {
      launchRows(kernel, tiling, stream, in, first, second);
    });
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

}  // namespace onehour::cuda
