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

// Vectors of the channels of a block, in shared memory.
template <int vectors>
using BlockVectors = float[vectors][tileChannels];

// Fills vectors for the block's channels. One thread a channel computes `fill(channel, values)`, so
// that it may be costly. All threads of the block must call this.
template <int vectors, typename Fill>
__device__ __forceinline__ const BlockVectors<vectors>& blockVectors(const RowTiling& tiling,
                                                                     Fill&& fill) {
  __shared__ __align__(16) BlockVectors<vectors> shared;
  const int own = static_cast<int>(threadIdx.x);
  const int64_t channel = tiling.firstChannel(blockIdx.x) + own;
  if (own < tiling.width() && channel < tiling.channels) {
    float values[vectors];
    fill(channel, values);
#pragma unroll
    for (int v = 0; v < vectors; ++v) shared[v][own] = values[v];
  }
  __syncthreads();
  return shared;
}

// A block's vector at the thread's channels.
template <int lanes>
__device__ __forceinline__ void readVector(const float (&shared)[tileChannels], const RowTile& tile,
                                           float (&out)[lanes]) {
  constexpr int step = lanes == 1 ? 1 : 4;
#pragma unroll
  for (int j = 0; j < lanes; j += step) {
    const auto pack = Pack<float, step>::read(&shared[tile.column * lanes + j]);
#pragma unroll
    for (int k = 0; k < step; ++k) out[j + k] = pack.values[k];
  }
}

// Fills `out[v]` with vector v at the thread's channels, as blockVectors does.
template <int vectors, int lanes, typename Fill>
__device__ __forceinline__ void channelVectors(const RowTiling& tiling, const RowTile& tile,
                                               float (&out)[vectors][lanes], Fill&& fill) {
  const BlockVectors<vectors>& shared = blockVectors<vectors>(tiling, fill);
#pragma unroll
  for (int v = 0; v < vectors; ++v) readVector(shared[v], tile, out[v]);
}

// What a thread adds to each sum of a channel.
template <int quantities>
struct Addends {
  double of[quantities];
};

// A thread's fp32 sums as they are.
struct AsTheyAre {
  template <int quantities>
  __device__ __forceinline__ Addends<quantities> operator()(const float (&held)[quantities],
                                                            int) const {
    Addends<quantities> result;
#pragma unroll
    for (int q = 0; q < quantities; ++q) result.of[q] = held[q];
    return result;
  }
};

// Where the blocks of a launch meet: their sums [quantities, rowBlocks, C], and a counter a block,
// zero before the launch and after it.
struct RowSums {
  double* sums;
  unsigned int* arrived;
};

// Sums what the threads hold of each channel, in fp64 and always in the same order, and calls
// `finish(channel, totals…)` for each, in the block that comes last. `widen(held, count)` turns
// what a thread holds after `count` rows into the addends. All threads of all blocks must call
// this.
template <int quantities, int lanes, typename Widen, typename Finish>
__device__ __forceinline__ void sumRows(const RowTiling& tiling,
                                        const float (&values)[quantities][lanes],
                                        const RowSums& into, Widen&& widen, Finish&& finish) {
  __shared__ __align__(16) float held[quantities][rowThreads * lanes];
  __shared__ double sums[quantities][rowThreads];
  const int thread = static_cast<int>(threadIdx.x);
  constexpr int step = lanes == 1 ? 1 : 4;
#pragma unroll
  for (int q = 0; q < quantities; ++q) {
#pragma unroll
    for (int j = 0; j < lanes; j += step) {
      Pack<float, step> pack;
#pragma unroll
      for (int k = 0; k < step; ++k) pack.values[k] = values[q][j + k];
      pack.write(&held[q][thread * lanes + j]);
    }
  }
  __syncthreads();
  const int width = tiling.width();
  const int segments = segmentsOf(width);
  const int64_t firstChannel = tiling.firstChannel(blockIdx.x);
  const int64_t left = tiling.channels - firstChannel;
  const int rowBlock = tiling.rowBlock(blockIdx.x);
  if (thread < width * segments && thread % width < left) {
    double own[quantities] = {};
    for (int row = thread / width; row < tiling.rowsPerPass; row += segments) {
      const int count = tiling.countOf(rowBlock, row);
      if (count == 0) break;
      float parts[quantities];
#pragma unroll
      for (int q = 0; q < quantities; ++q) parts[q] = held[q][row * width + thread % width];
      const Addends<quantities> addends = widen(parts, count);
#pragma unroll
      for (int q = 0; q < quantities; ++q) own[q] += addends.of[q];
    }
#pragma unroll
    for (int q = 0; q < quantities; ++q) sums[q][thread] = own[q];
  }
  __syncthreads();
  // From here on two threads share the sums of a channel: one of two, the first also the third.
  // `body(sum, place)` has one of them, which lies at `place` for row block 0.
  const int column = thread % width;
  const auto eachSum = [&](auto&& body) {
    if (thread >= 2 * width || column >= left) return;
    const int q = thread / width;
    double* const place =
        into.sums + firstChannel + column + q * int64_t{tiling.rowBlocks} * tiling.channels;
    body(sums[q], place);
    if constexpr (quantities == 3) {
      if (q == 0) body(sums[2], place + int64_t{2} * tiling.rowBlocks * tiling.channels);
    }
  };
  eachSum([&](double(&parts)[rowThreads], double* place) {
    double sum = 0;
    for (int s = 0; s < segments; ++s) sum += parts[s * width + column];
    parts[column] = sum;
    place[rowBlock * tiling.channels] = sum;
  });
  // A third sum leaves fewer registers for members that are on their way.
  constexpr int atOnce = quantities == 2 ? RowTiling::fanIn : RowTiling::fanIn / 2;
  for (int level = 0; level < tiling.mergeLevels(); ++level) {
    const RowTiling::Group group = tiling.group(rowBlock, level);
    if (group.count == 1) continue;
    unsigned int* arrived = into.arrived + tiling.counterOf(blockIdx.x, group);
    if (!isLastBlock(arrived, static_cast<unsigned int>(group.count))) return;
    eachSum([&](double(&parts)[rowThreads], double* place) {
      double sum = 0;
#pragma unroll 1
      for (int next = 0; next < RowTiling::fanIn; next += atOnce) {
        double members[atOnce];
#pragma unroll
        for (int i = 0; i < atOnce; ++i) {
          const int64_t member = group.first + (next + i) * group.stride;
          members[i] = next + i < group.count ? __ldcg(place + member * tiling.channels) : 0;
        }
#pragma unroll
        for (int i = 0; i < atOnce; ++i) sum += members[i];
      }
      parts[column] = sum;
      place[group.first * tiling.channels] = sum;
    });
  }
  __syncthreads();
  if (thread < width && thread < left) {
    if constexpr (quantities == 2) {
      finish(firstChannel + thread, sums[0][thread], sums[1][thread]);
    } else {
      finish(firstChannel + thread, sums[0][thread], sums[1][thread], sums[2][thread]);
    }
  }
}

inline size_t partialBytes(const RowTiling& tiling, int quantities = 2) {
  return sizeof(double) * static_cast<size_t>(quantities) * static_cast<size_t>(tiling.rowBlocks) *
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
