// What the kernels of maximum and average pooling share.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>

#include "../../core/ops/pool.h"
#include "../runtime/cuda.h"
#include "../tiling/lanes.cuh"
#include "../tiling/pool-tiling.h"
#include "kernels.h"

namespace onehour::cuda {

// A block of a pooling kernel takes a row; it has at most so many threads.
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

// Calls `body` with the element type and the widest number of lanes that all rows allow.
template <typename Body>
auto withLanes(DataType type, int64_t channels, std::initializer_list<const void*> values,
               const void* index, Body&& body) {
  return withType(type, [&](auto tag) {
    using T = decltype(tag);
    constexpr int most = static_cast<int>(lanesOf<T>);
    bool wide = dividesInto(most, channels, static_cast<const uint8_t*>(index));
    for (const void* data : values) {
      wide = wide && dividesInto(most, channels, static_cast<const T*>(data));
    }
    return wide ? body(tag, std::integral_constant<int, most>{})
                : body(tag, std::integral_constant<int, 1>{});
  });
}

// Factories (average-pool.cu).
std::unique_ptr<Kernel> averagePool(const Instruction& instruction, PrepareContext& context);
std::unique_ptr<Kernel> averagePoolBackward(const Instruction& instruction,
                                            PrepareContext& context);
std::unique_ptr<Kernel> globalAveragePool(const Instruction& instruction, PrepareContext& context);
std::unique_ptr<Kernel> globalAveragePoolBackward(const Instruction& instruction,
                                                  PrepareContext& context);

}  // namespace onehour::cuda
