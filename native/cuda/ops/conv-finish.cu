// Small kernels that follow a convolution: a filter gradient into its fp32 place, sums to
// statistics.
#include "../../core/ops/dispatch.h"
#include "../tiling/conv-tiling.h"
#include "../tiling/pack.cuh"
#include "batch-norm.cuh"
#include "conv-finish.h"

namespace onehour::cuda {
namespace {

template <typename T, bool accumulate>
__global__ void __launch_bounds__(convThreads)
    filterGradientKernel(const T* computed, float* dw, int64_t count) {
  constexpr int lanes = static_cast<int>(lanesOf<T>);
  constexpr int width = static_cast<int>(lanesOf<float>);
  const ElementRange range =
      elementsOf(blockIdx.x, static_cast<int64_t>(threadIdx.x), lanes, count);
  if (range.end - range.begin == lanes) {
    float added[lanes];
    Pack<T>::readOnce(computed + range.begin).unpack(added);
    float sums[lanes / width][width] = {};
    if constexpr (accumulate) {
#pragma unroll
      for (int i = 0; i < lanes / width; ++i) {
        Pack<float>::read(dw + range.begin + i * width).unpack(sums[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < lanes; ++i) sums[i / width][i % width] += added[i];
#pragma unroll
    for (int i = 0; i < lanes / width; ++i) {
      Pack<float>::of(sums[i]).write(dw + range.begin + i * width);
    }
    return;
  }
  for (int64_t i = range.begin; i < range.end; ++i) {
    dw[i] = (accumulate ? dw[i] : 0.0f) + load(computed[i]);
  }
}

__global__ void __launch_bounds__(convThreads)
    statisticsKernel(float* sums, float* squares, FinishStatistics finish) {
  const int64_t c = int64_t{blockIdx.x} * convThreads + threadIdx.x;
  if (c >= finish.channels) return;
  finish(c, sums[c], squares[c]);
  sums[c] = 0;
  squares[c] = 0;
}

}  // namespace

std::function<void(Stream&, const void*)> filterGradientFinish(DataType type, float* dw,
                                                               int64_t count, bool accumulate) {
  using Finish = std::function<void(Stream&, const void*)>;
  return withType(type, [&](auto tag) {
    using T = decltype(tag);
    return withFlag(accumulate, [&](auto add) -> Finish {
      return [dw, count, kernel = LoadedKernel(filterGradientKernel<T, decltype(add)::value>)](
                 Stream& stream, const void* computed) {
        const auto blocks = static_cast<unsigned>(blocksFor(count, lanesOf<T>));
        launch(kernel, dim3(blocks), dim3(convThreads), stream, static_cast<const T*>(computed), dw,
               count);
      };
    });
  });
}

std::function<void(Stream&, float*, float*)> statisticsFinish(int64_t channels, int64_t rows,
                                                              float* statistics,
                                                              const BatchNormFinalize& finalize) {
  return [finish = FinishStatistics{rows, channels, statistics, finalize},
          kernel = LoadedKernel(statisticsKernel)](Stream& stream, float* sums, float* squares) {
    const auto blocks = static_cast<unsigned>(ceilDivide(finish.channels, convThreads));
    launch(kernel, dim3(blocks), dim3(convThreads), stream, sums, squares, finish);
  };
}

}  // namespace onehour::cuda
