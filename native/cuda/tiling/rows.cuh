// Device code over a RowTiling: threads that walk rows with many accesses in flight, vectors of
// channels handed to threads, and sums of a channel over rows.
#pragma once

#include <cstdint>
#include <memory>

#include "../runtime/cuda.h"
#include "block-reduce.cuh"
#include "pack.cuh"
#include "row-tiling.h"

namespace onehour::cuda {

// The address of element `base` + `bytes`: the first is the same for all threads of a block.
template <typename T>
__device__ __forceinline__ T* placeOf(T* tensor, int64_t base, uint32_t bytes) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  return reinterpret_cast<T*>(reinterpret_cast<Byte*>(tensor + base) + bytes);
}

// Calls `body(held, bytes)` for each place of a tile with what `read(bytes)` returned for it.
// `batch` places are read before the first of them is worked on; a tensor may be overwritten by
// `body` at its own place, placeOf(tensor, tile.base, bytes).
template <int batch, typename T, typename Read, typename Body>
__device__ __forceinline__ void overPlaces(const RowTile& tile, Read&& read, Body&& body) {
  const uint32_t stride = tile.stride * static_cast<uint32_t>(sizeof(T));
  uint32_t bytes = tile.first * static_cast<uint32_t>(sizeof(T));
  for (int i = 0; i < tile.count; i += batch, bytes += batch * stride) {
    decltype(read(bytes)) held[batch];
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      if (i + k < tile.count) held[k] = read(bytes + k * stride);
    }
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      if (i + k < tile.count) body(held[k], bytes + k * stride);
    }
  }
}

// What several tensors hold at a place.
template <typename T, int lanes, int streams>
struct Packs {
  Pack<T, lanes> of[streams];

  template <bool once>
  __device__ __forceinline__ void read(const T* const (&from)[streams], const RowTile& tile,
                                       uint32_t bytes) {
#pragma unroll
    for (int s = 0; s < streams; ++s) {
      const T* place = placeOf(from[s], tile.base, bytes);
      of[s] = once ? Pack<T, lanes>::readOnce(place) : Pack<T, lanes>::read(place);
    }
  }
};

// The same with the tensors `from`: calls `body(packs, bytes)`.
template <int batch, bool once, int lanes, typename T, int streams, typename Body>
__device__ __forceinline__ void overRows(const RowTile& tile, const T* const (&from)[streams],
                                         Body&& body) {
  overPlaces<batch, T>(
      tile,
      [&](uint32_t bytes) {
        Packs<T, lanes, streams> packs;
        packs.template read<once>(from, tile, bytes);
        return packs;
      },
      [&](const auto& packs, uint32_t bytes) { body(packs.of, bytes); });
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

// Where the blocks of a launch meet: their sums [2, rowBlocks, C], and a counter a block, zero
// before the launch and after it.
struct RowSums {
  double* sums;
  unsigned int* arrived;
};

// Sums what the threads hold of each channel, in fp64 and always in the same order, and calls
// `finish(channel, first, second)` for each, in the block that comes last. `widen(first, second,
// count)` turns what a thread holds after `count` rows into the two addends. All threads of all
// blocks must call this.
template <int lanes, typename Widen, typename Finish>
__device__ __forceinline__ void sumRows(const RowTiling& tiling, const float (&first)[lanes],
                                        const float (&second)[lanes], const RowSums& into,
                                        Widen&& widen, Finish&& finish) {
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
  const int64_t firstChannel = tiling.firstChannel(blockIdx.x);
  const int64_t left = tiling.channels - firstChannel;
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
  // From here on a thread has one of a channel's sums, which lies at `place` for row block 0.
  const int column = thread % width;
  const bool takesPart = thread < 2 * width && column < left;
  double* const place = into.sums + firstChannel + column +
                        thread / width * int64_t{tiling.rowBlocks} * tiling.channels;
  double sum = 0;
  if (takesPart) {
    for (int s = 0; s < segments; ++s) sum += sums[thread / width][s * width + column];
    place[rowBlock * tiling.channels] = sum;
  }
  for (int level = 0; level < tiling.mergeLevels(); ++level) {
    const RowTiling::Group group = tiling.group(rowBlock, level);
    if (group.count == 1) continue;
    unsigned int* arrived = into.arrived + tiling.counterOf(blockIdx.x, group);
    if (!isLastBlock(arrived, static_cast<unsigned int>(group.count))) return;
    if (takesPart) {
      double members[RowTiling::fanIn];
#pragma unroll
      for (int i = 0; i < RowTiling::fanIn; ++i) {
        const int64_t member = group.first + i * group.stride;
        members[i] = i < group.count ? __ldcg(place + member * tiling.channels) : 0;
      }
      sum = 0;
#pragma unroll
      for (int i = 0; i < RowTiling::fanIn; ++i) sum += members[i];
      place[group.first * tiling.channels] = sum;
    }
  }
  if (takesPart) sums[thread / width][column] = sum;
  __syncthreads();
  if (thread < width && thread < left) {
    finish(firstChannel + thread, sums[0][thread], sums[1][thread]);
  }
}

inline size_t partialBytes(const RowTiling& tiling) {
  return sizeof(double) * 2 * static_cast<size_t>(tiling.rowBlocks) *
         static_cast<size_t>(tiling.channels);
}

// The counters of a kernel's launches, which follow one another on one stream.
inline std::shared_ptr<void> countersOf(const RowTiling& tiling, PrepareContext& context) {
  const auto blocks = static_cast<size_t>(tiling.blocks());
  return context.backend.allocate(blocks * sizeof(unsigned int), MemoryKind::device);
}

inline RowSums sumsOf(Stream& stream, const std::shared_ptr<void>& counters) {
  return {static_cast<double*>(stream.workspace()), static_cast<unsigned int*>(counters.get())};
}

// A kernel of one block a tile.
template <typename... Parameters, typename... Arguments>
void launchRows(const LoadedKernel<RowTiling, Parameters...>& kernel, const RowTiling& tiling,
                Stream& stream, Arguments&&... arguments) {
  launch(kernel, dim3(static_cast<unsigned>(tiling.blocks())), dim3(rowThreads), stream, tiling,
         std::forward<Arguments>(arguments)...);
}

}  // namespace onehour::cuda
