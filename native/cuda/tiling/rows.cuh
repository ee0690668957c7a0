// Device code over a RowTiling: threads that walk rows with many accesses in flight, vectors of
// channels handed to threads, and sums of a channel over rows.
#pragma once

#include <cstdint>

#include "../runtime/cuda.h"
#include "pack.cuh"
#include "row-tiling.h"

namespace onehour::cuda {

// The address of element `base` + `bytes`: the first is the same for all threads of a block.
template <typename T>
__device__ __forceinline__ T* placeOf(T* tensor, int64_t base, uint32_t bytes) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  return reinterpret_cast<T*>(reinterpret_cast<Byte*>(tensor + base) + bytes);
}

// Calls `body(packs, bytes)` for each place of a tile with what the tensors `from` hold there.
// `batch` places are read before the first of them is worked on; a tensor may be overwritten by
// `body` at its own place, placeOf(tensor, tile.base, bytes).
template <int batch, bool once, int lanes, typename T, int streams, typename Body>
__device__ __forceinline__ void overRows(const RowTile& tile, const T* const (&from)[streams],
                                         Body&& body) {
  using Access = Pack<T, lanes>;
  constexpr uint32_t size = sizeof(T);
  const uint32_t stride = tile.stride * size;
  uint32_t bytes = tile.first * size;
  for (int i = 0; i < tile.count; i += batch, bytes += batch * stride) {
    Access packs[batch][streams];
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      if (i + k < tile.count) {
#pragma unroll
        for (int s = 0; s < streams; ++s) {
          const T* place = placeOf(from[s], tile.base, bytes + k * stride);
          packs[k][s] = once ? Access::readOnce(place) : Access::read(place);
        }
      }
    }
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      if (i + k < tile.count) body(packs[k], bytes + k * stride);
    }
  }
}

// Fills `out[v]` with vector v at the thread's channels. One thread a channel of the block computes
// `fill(channel, values)`, so that it may be costly. All threads of the block must call this.
template <int vectors, int lanes, typename Fill>
__device__ __forceinline__ void channelVectors(const RowTiling& tiling, const RowTile& tile,
                                               float (&out)[vectors][lanes], Fill&& fill) {
  __shared__ __align__(16) float shared[vectors][tileChannels];
  const int own = static_cast<int>(threadIdx.x);
  const int64_t channel = tiling.firstChannel(blockIdx.x) + own;
  if (own < tiling.width() && channel < tiling.channels) {
    float values[vectors];
    fill(channel, values);
#pragma unroll
    for (int v = 0; v < vectors; ++v) shared[v][own] = values[v];
  }
  __syncthreads();
  constexpr int step = lanes == 1 ? 1 : 4;
#pragma unroll
  for (int v = 0; v < vectors; ++v) {
#pragma unroll
    for (int j = 0; j < lanes; j += step) {
      const auto pack = Pack<float, step>::read(&shared[v][tile.column * lanes + j]);
#pragma unroll
      for (int k = 0; k < step; ++k) out[v][j + k] = pack.values[k];
    }
  }
}

// Two sums of a channel.
struct DoublePair {
  double first, second;
};

// Sums what the block's threads hold of each channel, in fp64 and always in the same order, and
// writes the block's sums to partial[2, rowBlocks, C]. `widen(first, second, count)` turns what a
// thread holds after `count` rows into the two addends. All threads of the block must call this.
template <int lanes, typename Widen>
__device__ __forceinline__ void sumBlock(const RowTiling& tiling, const float (&first)[lanes],
                                         const float (&second)[lanes], double* partial,
                                         Widen&& widen) {
  __shared__ __align__(16) float held[2][rowThreads * lanes];
  __shared__ double sums[2][rowThreads];
  const int thread = static_cast<int>(threadIdx.x);
  constexpr int step = lanes == 1 ? 1 : 4;
#pragma unroll
  for (int j = 0; j < lanes; j += step) {
    Pack<float, step> packs[2];
#pragma unroll
    for (int k = 0; k < step; ++k) {
      packs[0].values[k] = first[j + k];
      packs[1].values[k] = second[j + k];
    }
    packs[0].write(&held[0][thread * lanes + j]);
    packs[1].write(&held[1][thread * lanes + j]);
  }
  __syncthreads();
  const int width = tiling.width();
  const int segments = segmentsOf(width);
  const int64_t left = tiling.channels - tiling.firstChannel(blockIdx.x);
  const int rowBlock = tiling.rowBlock(blockIdx.x);
  if (thread < width * segments && thread % width < left) {
    double a = 0;
    double b = 0;
    for (int row = thread / width; row < tiling.rowsPerPass; row += segments) {
      const int count = tiling.countOf(rowBlock, row);
      if (count == 0) break;
      const int place = row * width + thread % width;
      const DoublePair pair = widen(held[0][place], held[1][place], count);
      a += pair.first;
      b += pair.second;
    }
    sums[0][thread] = a;
    sums[1][thread] = b;
  }
  __syncthreads();
  if (thread < 2 * width && thread % width < left) {
    const int which = thread / width;
    const int column = thread % width;
    double sum = 0;
    for (int s = 0; s < segments; ++s) sum += sums[which][s * width + column];
    partial[(int64_t{which} * tiling.rowBlocks + rowBlock) * tiling.channels +
            tiling.firstChannel(blockIdx.x) + column] = sum;
  }
}

// Merges the partial sums of `rowBlocks` blocks a channel and hands them to `finish(channel, first,
// second)`.
template <typename Finish>
__global__ void __launch_bounds__(mergeChannels* mergeSegments)
    mergeKernel(int rowBlocks, int64_t channels, const double* partial, Finish finish) {
  __shared__ double sums[2][mergeSegments][mergeChannels];
  const int column = static_cast<int>(threadIdx.x) % mergeChannels;
  const int segment = static_cast<int>(threadIdx.x) / mergeChannels;
  const int64_t channel = int64_t{blockIdx.x} * mergeChannels + column;
  double first = 0;
  double second = 0;
  if (channel < channels) {
    const double* other = partial + rowBlocks * channels;
#pragma unroll 4
    for (int64_t block = segment; block < rowBlocks; block += mergeSegments) {
      first += partial[block * channels + channel];
      second += other[block * channels + channel];
    }
  }
  sums[0][segment][column] = first;
  sums[1][segment][column] = second;
  for (int half = mergeSegments / 2; half > 0; half /= 2) {
    __syncthreads();
    if (segment < half) {
      sums[0][segment][column] += sums[0][segment + half][column];
      sums[1][segment][column] += sums[1][segment + half][column];
    }
  }
  if (segment == 0 && channel < channels) finish(channel, sums[0][0][column], sums[1][0][column]);
}

inline size_t partialBytes(const RowTiling& tiling) {
  return sizeof(double) * 2 * static_cast<size_t>(tiling.rowBlocks) *
         static_cast<size_t>(tiling.channels);
}

// Launches mergeKernel on the partial sums of a tiling.
template <typename Finish>
class Merge {
 public:
  Merge(const RowTiling& tiling, Finish finish) : tiling_(tiling), finish_(finish) {}
  void launch(Stream& stream, const double* partial) const {
    const auto blocks = static_cast<unsigned>(ceilDivide(tiling_.channels, mergeChannels));
    cuda::launch(kernel_, dim3(blocks), dim3(mergeChannels * mergeSegments), stream,
                 tiling_.rowBlocks, tiling_.channels, partial, finish_);
  }

 private:
  RowTiling tiling_;
  Finish finish_;
  LoadedKernel<int, int64_t, const double*, Finish> kernel_{mergeKernel<Finish>};
};

// A kernel of one block a tile.
template <typename... Parameters, typename... Arguments>
void launchRows(const LoadedKernel<RowTiling, Parameters...>& kernel, const RowTiling& tiling,
                Stream& stream, Arguments&&... arguments) {
  launch(kernel, dim3(static_cast<unsigned>(tiling.blocks())), dim3(rowThreads), stream, tiling,
         std::forward<Arguments>(arguments)...);
}

}  // namespace onehour::cuda
