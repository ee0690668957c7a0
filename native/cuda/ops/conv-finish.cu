// Small kernels that follow a convolution: a filter gradient into its fp32 place, sums to
// statistics.
#include "../../core/ops/dispatch.h"
#include "../tiling/conv-tiling.h"
#include "../tiling/pack.cuh"
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
    statisticsKernel(const float* sums, const float* squares, int64_t channels, int64_t rows,
                     float* statistics) {
  const int64_t c = int64_t{blockIdx.x} * convThreads + threadIdx.x;
  if (c >= channels) return;
  const double sum = sums[c];
  const double mean = sum / static_cast<double>(rows);
  const double m2 = squares[c] - sum * mean;
  statistics[c] = static_cast<float>(mean);
  statistics[channels + c] = static_cast<float>(m2 < 0 ? 0 : m2);
  if (c == 0) statistics[2 * channels] = static_cast<float>(rows);
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

std::function<void(Stream&, const float*, const float*)> statisticsFinish(int64_t channels,
                                                                          int64_t rows,
                                                                          float* statistics) {
  return [=, kernel = LoadedKernel(statisticsKernel)](Stream& stream, const float* sums,
                                                      const float* squares) {
    const auto blocks = static_cast<unsigned>(ceilDivide(channels, convThreads));
    launch(kernel, dim3(blocks), dim3(convThreads), stream, sums, squares, channels, rows,
           statistics);
  };
}

}  // namespace onehour::cuda
