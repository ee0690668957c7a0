// Device code over a ColumnTiling: walks over columns, and sums down them, in fp32 and in a fixed
// order.
#pragma once

#include "column-tiling.h"
#include "pack.cuh"

namespace onehour::cuda {

// Calls `write(group, column, sum)` once for every column of every group, with the sum of what
// `add(element, sums)` adds for the elements from there on. `blockDim` is (tiling.width,
// tiling.slices).
template <int lanes, typename Add, typename Write>
__device__ __forceinline__ void sumColumnsOf(const ColumnTiling& tiling, Add add, Write write) {
  __shared__ float parts[ColumnTiling::threads * lanes];
  const int thread = static_cast<int>(threadIdx.x);
  const int slice = static_cast<int>(threadIdx.y);
  const int tileColumns = tiling.width * lanes;
  for (int64_t block = blockIdx.x; block < tiling.blocks(); block += gridDim.x) {
    const int64_t group = tiling.groupOf(block);
    const int64_t column = tiling.columnOf(block, thread);
    float sums[lanes] = {};
    if (column < tiling.columns) {
      const int64_t from = tiling.elementOf(group, 0, column);
#pragma unroll 4
      for (int64_t row = slice; row < tiling.rows; row += tiling.slices) {
        add(from + row * tiling.columns, sums);
      }
    }
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      parts[slice * tileColumns + thread * lanes + lane] = sums[lane];
    }
    __syncthreads();
    const int64_t first = tiling.columnOf(block, 0);
    for (int own = slice * tiling.width + thread; own < tileColumns && first + own < tiling.columns;
         own += tiling.width * tiling.slices) {
      float sum = parts[own];
      for (int other = 1; other < tiling.slices; ++other) sum += parts[other * tileColumns + own];
      write(group, first + own, sum);
    }
    __syncthreads();
  }
}

// The sums of the elements of `x`.
template <int lanes, typename T, typename Write>
__device__ __forceinline__ void sumColumns(const ColumnTiling& tiling, const T* x, Write write) {
  sumColumnsOf<lanes>(
      tiling,
      [&](int64_t at, float(&sums)[lanes]) { Pack<T, lanes>::readOnce(x + at).addTo(sums); },
      write);
}

// Calls `body(element, shared)` for each place of every column, where `shared` is what
// `begin(group, column)` returned for all of them.
template <typename Begin, typename Body>
__device__ __forceinline__ void overColumns(const ColumnTiling& tiling, Begin begin, Body body) {
  for (int64_t block = blockIdx.x; block < tiling.blocks(); block += gridDim.x) {
    const int64_t group = tiling.groupOf(block);
    const int64_t column = tiling.columnOf(block, static_cast<int>(threadIdx.x));
    if (column >= tiling.columns) continue;
    const auto shared = begin(group, column);
    for (int64_t row = threadIdx.y; row < tiling.rows; row += tiling.slices) {
      body(tiling.elementOf(group, row, column), shared);
    }
  }
}

// A matrix an image, its pixels by its channels.
inline ColumnTiling imageTiling(const Operand& images, int lanes) {
  return columnTiling(images.shape[0], images.shape[1] * images.shape[2], images.shape[3], lanes);
}

inline dim3 blockOf(const ColumnTiling& tiling) {
  return dim3(static_cast<unsigned>(tiling.width), static_cast<unsigned>(tiling.slices));
}

}  // namespace onehour::cuda
