// Batch normalisation forward, in the split form that a synchronised one needs: local statistics,
// their merge, and the normalisation.
#include <cmath>

#include "../../core/ops/dispatch.h"
#include "batch-norm.cuh"
#include "kernels.h"

namespace onehour::cuda {
namespace {

// ------------------------------------------------------------------------------------- statistics
// Reads x once. A thread sums in fp32 around its first value, so that a mean far from zero costs no
// digits; from there on (Σ, Σ of squares) are fp64, which needs no pivot.
template <typename T, int lanes>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    statisticsKernel(RowTiling tiling, const T* x, RowSums sums, FinishStatistics finish) {
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), false);
  float pivot[lanes];
  float totals[2][lanes] = {};
  auto& [sum, square] = totals;
  if (tile.count > 0) Pack<T, lanes>::read(x + tile.base + tile.first).unpack(pivot);
  const T* const from[] = {x};
  overRows<8, false, lanes>(tile, from, [&](const Pack<T, lanes>(&packs)[1], uint32_t) {
    float value[lanes];
    packs[0].unpack(value);
#pragma unroll
    for (int j = 0; j < lanes; ++j) {
      const float delta = value[j] - pivot[j];
      sum[j] += delta;
      square[j] = fmaf(delta, delta, square[j]);
    }
  });
  if (tile.count > 0) {
    const float share = 1.0f / static_cast<float>(tile.count);
#pragma unroll
    for (int j = 0; j < lanes; ++j) {
      const float delta = sum[j] * share;
      square[j] = fmaf(-sum[j], delta, square[j]);  // M2
      sum[j] = pivot[j] + delta;                    // mean
    }
  }
  const auto widen = [](const float(&held)[2], int count) {
    const auto& [mean, m2] = held;
    const double total = static_cast<double>(count) * mean;
    return Addends<2>{{total, m2 + total * mean}};
  };
  sumRows(tiling, totals, sums, widen, finish);
}

std::unique_ptr<Kernel> statistics(const Instruction& instruction, PrepareContext& context) {
  const BatchNormStatistics op(instruction);
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    const T* x = op.x.as<T>();
    return withLanes<T>(dividesInto(lanesOf<T>, op.x.shape.back(), x), [&](auto lanes) {
      const RowTiling tiling = tilingOf(op.x, lanes, context);
      const FinishStatistics finish{tiling.rows, tiling.channels, op.statistics,
                                    finalizeOf(instruction)};
      return makeKernel(
          [tiling, x, finish, counters = countersOf(tiling, context),
           kernel = LoadedKernel(statisticsKernel<T, decltype(lanes)::value>)](Stream& stream) {
            launchRows(kernel, tiling, stream, x, sumsOf(stream, counters), finish);
          },
          partialBytes(tiling));
    });
  });
}

// --------------------------------------------------------------------------------------- finalize
constexpr int finalizeThreads = 128;

// Merges the ranks' (mean, M2, count) in rank order (Chan, Golub and LeVeque's update, fp64).
__global__ void __launch_bounds__(finalizeThreads) finalizeKernel(BatchNormFinalize op) {
  const int64_t c = int64_t{blockIdx.x} * finalizeThreads + threadIdx.x;
  if (c >= op.channels) return;
  const int64_t width = 2 * op.channels + 1;
  double count = op.statistics[2 * op.channels];
  double average = op.statistics[c];
  double m2 = op.statistics[op.channels + c];
#pragma unroll 4
  for (int64_t rank = 1; rank < op.ranks; ++rank) {
    const float* other = op.statistics + rank * width;
    const double otherCount = other[2 * op.channels];
    const double sum = count + otherCount;
    if (!(sum > 0)) continue;
    const double delta = other[c] - average;
    average += delta * otherCount / sum;
    m2 += other[op.channels + c] + delta * delta * count * otherCount / sum;
    count = sum;
  }
  finalizeChannel(op, c, count, average, m2);
}

std::unique_ptr<Kernel> finalize(const Instruction& instruction, PrepareContext&) {
  const BatchNormFinalize op(instruction);
  return makeKernel([op, kernel = LoadedKernel(finalizeKernel)](Stream& stream) {
    const auto blocks = static_cast<unsigned>(ceilDivide(op.channels, finalizeThreads));
    launch(kernel, dim3(blocks), dim3(finalizeThreads), stream, op);
  });
}

// ------------------------------------------------------------------------------------------ apply
// Reads x (and the residual) and writes y (and the ReLU's mask), once each. It goes from the last
// row of a block to the first: the statistics read the same tile the other way, so its end may
// still be in L2.
template <typename T, int lanes, bool residual>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    applyKernel(RowTiling tiling, const T* x, const T* z, T* y, uint8_t* mask, Affine affine,
                bool relu) {
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), true);
  float vectors[3][lanes];  // mean, scale, beta
  channelVectors(tiling, tile, vectors, [&](int64_t channel, float(&values)[3]) {
    values[0] = affine.mean[channel];
    values[1] = affine.scale(channel);
    values[2] = affine.beta[channel];
  });
  const auto write = [&](const auto& packs, uint32_t bytes) {
    float value[lanes];
    packs[0].unpack(value);
#pragma unroll
    for (int j = 0; j < lanes; ++j) {
      value[j] = normalized(value[j], vectors[0][j], vectors[1][j], vectors[2][j]);
    }
    if constexpr (residual) {
      float other[lanes];
      packs[1].unpack(other);
#pragma unroll
      for (int j = 0; j < lanes; ++j) value[j] += other[j];
    }
    writeApplied(value, y, mask, relu, tile.base, bytes);
  };
  if constexpr (residual) {
    const T* const from[] = {x, z};
    overRows<4, true, lanes>(tile, from, write);
  } else {
    const T* const from[] = {x};
    overRows<8, true, lanes>(tile, from, write);
  }
}

std::unique_ptr<Kernel> makeApply(const Instruction& instruction, bool inference,
                                  PrepareContext& context) {
  const BatchNormApply op(instruction, inference);
  const Affine affine = affineOf(op);
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    const T* x = op.x.as<T>();
    const T* z = op.residual == nullptr ? nullptr : op.residual->as<T>();
    T* y = op.y.as<T>();
    const bool wide = dividesInto(lanesOf<T>, op.x.shape.back(), x, z, y);
    if (op.mask != nullptr) requireAligned(instruction, op.x, wide);
    return withLanes<T>(wide, [&](auto lanes) {
      return withFlag(z != nullptr, [&](auto residual) {
        return makeKernel([tiling = tilingOf(op.x, lanes, context), x, z, y, mask = op.mask, affine,
                           relu = op.relu,
                           kernel = LoadedKernel(
                               applyKernel<T, decltype(lanes)::value, decltype(residual)::value>)](
                              Stream& stream) {
          launchRows(kernel, tiling, stream, x, z, y, mask, affine, relu);
        });
      });
    });
  });
}

std::unique_ptr<Kernel> apply(const Instruction& instruction, PrepareContext& context) {
  return makeApply(instruction, false, context);
}

std::unique_ptr<Kernel> inference(const Instruction& instruction, PrepareContext& context) {
  return makeApply(instruction, true, context);
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
      {"batch-norm-moments",
       {"x:T[N,H,W,C] running-mean:f32[C] running-variance:f32[C] -> statistics:f32[1,2C+1] "
        "mean:f32[C] inverse-std:f32[C] running-mean:f32[C] running-variance:f32[C]",
        statistics}},
      {"batch-norm-statistics", {"x:T[N,H,W,C] -> statistics:f32[1,2C+1]", statistics}},
  };
});

}  // namespace

}  // namespace onehour::cuda
