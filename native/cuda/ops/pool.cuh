// What the kernels of maximum and average pooling share.
#pragma once

#include <string>

#include "../../core/ops/pool.h"
#include "../runtime/cuda.h"
#include "../tiling/pack.cuh"
#include "../tiling/pool-tiling.h"
#include "kernels.h"

namespace onehour::cuda {

// Threads of a pooling kernel's block, at most; a block takes a row.
constexpr int poolThreads = 256;
// Blocks that a multiprocessor holds at least: enough loads in flight, and registers for them.
constexpr int residentPoolBlocks = 3;

inline WindowAxis axisOf(int64_t extent, int64_t outputs, int64_t window, int64_t stride,
                         int64_t padding) {
  return {static_cast<int>(extent), static_cast<int>(outputs), static_cast<int>(window),
          static_cast<int>(stride), static_cast<int>(padding)};
}

inline PoolTiling tilingOf(const Instruction& instruction, const WindowPooling& pooling,
                           int lanes) {
  constexpr int64_t most = 1 << 30;
  for (const Shape& shape : {pooling.x, pooling.y}) {
    if (shape[0] > most / shape[1] || shape[2] > most / shape[3]) {
      throw Error("ERR_SHAPE", "onehour",
                  "[" + instruction.op +
                      "] expected at most 2³⁰ rows, and as many values in each, " + "got " +
                      describe("a tensor", nameOf(pooling.type), shape) + "; try a smaller batch");
    }
  }
  return {static_cast<int>(pooling.x[0]), static_cast<int>(pooling.x[3]), lanes,
          axisOf(pooling.x[1], pooling.y[1], pooling.window.height, pooling.stride.height,
                 pooling.padding.height),
          axisOf(pooling.x[2], pooling.y[2], pooling.window.width, pooling.stride.width,
                 pooling.padding.width)};
}

// The block for a row of so many pixels or windows.
inline dim3 rowOf(int columns, const PoolTiling& tiling) {
  return dim3(static_cast<unsigned>(threadsFor(columns * tiling.packs(), poolThreads)));
}

// Calls `body(image, row, column, channel)` for every pack of the images' rows: a block takes a
// row.
template <int lanes, typename Body>
__device__ __forceinline__ void overPlaces(const PoolTiling& tiling, int rows, int columns,
                                           Body body) {
  const int packs = tiling.packs();
  for (int i = static_cast<int>(blockIdx.x); i < tiling.images * rows;
       i += static_cast<int>(gridDim.x)) {
    const int image = i / rows;
    const int row = i - image * rows;
    for (int item = static_cast<int>(threadIdx.x); item < columns * packs;
         item += static_cast<int>(blockDim.x)) {
      const int column = item / packs;
      body(image, row, column, (item - column * packs) * lanes);
    }
  }
}

template <int lanes, typename Body>
__device__ __forceinline__ void overWindows(const PoolTiling& tiling, Body body) {
  overPlaces<lanes>(tiling, tiling.height.outputs, tiling.width.outputs, body);
}

template <int lanes, typename Body>
__device__ __forceinline__ void overPixels(const PoolTiling& tiling, Body body) {
  overPlaces<lanes>(tiling, tiling.height.extent, tiling.width.extent, body);
}

}  // namespace onehour::cuda
