// Maximum and global average pooling. The maximum's place in its window is kept as one byte an
// output; its gradient is gathered, each pixel from the windows over it, so that nothing is added
// in memory.
#include <initializer_list>
#include <string>
#include <type_traits>

#include "../../core/ops/pool.h"
#include "../runtime/cuda.h"
#include "../tiling/column-sum.cuh"
#include "../tiling/lanes.cuh"
#include "../tiling/pool-tiling.h"
#include "kernels.h"

namespace onehour::cuda {
namespace {

constexpr int threads = 256;  // of a block, at most
// Blocks that a multiprocessor holds at least: enough loads in flight, and registers for them.
constexpr int residentBlocks = 3;

__device__ __forceinline__ int clamp(int value, int end) {
  return value < 0 ? 0 : value < end ? value : end - 1;
}

// The first maximum of a window for each of a thread's channels. A NaN is larger than any number.
template <typename T, int lanes>
struct Maxima {
  float values[lanes];
  int positions[lanes];

  __device__ __forceinline__ explicit Maxima(int firstPosition) {
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      values[lane] = -INFINITY;
      positions[lane] = firstPosition;
    }
  }

  __device__ __forceinline__ void look(const Lanes<T, lanes>& pack, int position, bool inside) {
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      const float value = load(pack.values[lane]);
      if (inside && (value > values[lane] || value != value)) {
        values[lane] = value;
        positions[lane] = position;
      }
    }
  }
};

// `side` is the window's side where it is known at compile time: its loads are then all in flight
// at once, those in the padding from the nearest pixel. 0 stands for any window.
template <typename T, int lanes, int side>
__global__ void __launch_bounds__(threads, residentBlocks)
    maxPoolKernel(PoolTiling tiling, const T* x, T* y, uint8_t* index) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  const int packs = tiling.packs();
  for (int row = static_cast<int>(blockIdx.x); row < tiling.outputRows();
       row += static_cast<int>(gridDim.x)) {
    const int image = row / height.outputs;
    const int p = row - image * height.outputs;
    for (int item = static_cast<int>(threadIdx.x); item < width.outputs * packs;
         item += static_cast<int>(blockDim.x)) {
      const int q = item / packs;
      const int channel = (item - q * packs) * lanes;
      Maxima<T, lanes> maxima(height.firstInside(p) * width.window + width.firstInside(q));
      if constexpr (side > 0) {
        Lanes<T, lanes> packsOfWindow[side * side];
#pragma unroll
        for (int i = 0; i < side * side; ++i) {
          const int h = clamp(height.start(p) + i / side, height.extent);
          const int w = clamp(width.start(q) + i % side, width.extent);
          packsOfWindow[i] = Lanes<T, lanes>::read(x + tiling.input(image, h, w, channel));
        }
#pragma unroll
        for (int i = 0; i < side * side; ++i) {
          const int r = i / side;
          const int s = i % side;
          maxima.look(packsOfWindow[i], i,
                      r >= height.firstInside(p) && r < height.endInside(p) &&
                          s >= width.firstInside(q) && s < width.endInside(q));
        }
      } else {
        for (int r = height.firstInside(p); r < height.endInside(p); ++r) {
#pragma unroll 1
          for (int s = width.firstInside(q); s < width.endInside(q); ++s) {
            const T* from =
                x + tiling.input(image, height.start(p) + r, width.start(q) + s, channel);
            maxima.look(Lanes<T, lanes>::read(from), r * width.window + s, true);
          }
        }
      }
      Lanes<T, lanes> values;
      Lanes<uint8_t, lanes> positions;
#pragma unroll
      for (int lane = 0; lane < lanes; ++lane) {
        values.values[lane] = store<T>(maxima.values[lane]);
        positions.values[lane] = static_cast<uint8_t>(maxima.positions[lane]);
      }
      const int64_t to = tiling.output(image, p, q, channel);
      values.write(y + to);
      if (index != nullptr) positions.write(index + to);
    }
  }
}

// `most` is the largest number of windows over a pixel along each axis where it is known at compile
// time, or 0.
template <typename T, int lanes, int most>
__global__ void __launch_bounds__(threads, residentBlocks)
    maxPoolBackwardKernel(PoolTiling tiling, const T* dy, const uint8_t* index, T* dx) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  const int packs = tiling.packs();
  for (int row = static_cast<int>(blockIdx.x); row < tiling.inputRows();
       row += static_cast<int>(gridDim.x)) {
    const int image = row / height.extent;
    const int h = row - image * height.extent;
    for (int item = static_cast<int>(threadIdx.x); item < width.extent * packs;
         item += static_cast<int>(blockDim.x)) {
      const int w = item / packs;
      const int channel = (item - w * packs) * lanes;
      const int firstP = height.firstOver(h);
      const int firstQ = width.firstOver(w);
      const int endP = height.endOver(h);
      const int endQ = width.endOver(w);
      float sums[lanes] = {};
      const auto add = [&](const Lanes<uint8_t, lanes>& positions, const Lanes<T, lanes>& gradients,
                           int p, int q, bool over) {
        const int position = (h - height.start(p)) * width.window + w - width.start(q);
#pragma unroll
        for (int lane = 0; lane < lanes; ++lane) {
          if (over && positions.values[lane] == position) {
            sums[lane] += load(gradients.values[lane]);
          }
        }
      };
      if constexpr (most > 0) {
        Lanes<uint8_t, lanes> positions[most * most];
        Lanes<T, lanes> gradients[most * most];
#pragma unroll
        for (int i = 0; i < most * most; ++i) {
          const int64_t from = tiling.output(image, clamp(firstP + i / most, height.outputs),
                                             clamp(firstQ + i % most, width.outputs), channel);
          positions[i] = Lanes<uint8_t, lanes>::read(index + from);
          gradients[i] = Lanes<T, lanes>::read(dy + from);
        }
#pragma unroll
        for (int i = 0; i < most * most; ++i) {
          const int p = firstP + i / most;
          const int q = firstQ + i % most;
          add(positions[i], gradients[i], p, q, p < endP && q < endQ);
        }
      } else {
        for (int p = firstP; p < endP; ++p) {
#pragma unroll 1
          for (int q = firstQ; q < endQ; ++q) {
            const int64_t from = tiling.output(image, p, q, channel);
            add(Lanes<uint8_t, lanes>::read(index + from), Lanes<T, lanes>::read(dy + from), p, q,
                true);
          }
        }
      }
      Lanes<T, lanes> result;
#pragma unroll
      for (int lane = 0; lane < lanes; ++lane) result.values[lane] = store<T>(sums[lane]);
      result.write(dx + tiling.input(image, h, w, channel));
    }
  }
}

template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    averageKernel(ColumnTiling tiling, const T* x, T* y) {
  const float count = static_cast<float>(tiling.rows);
  sumColumns<lanes>(tiling, x, [&](int64_t image, int64_t channel, float sum) {
    y[image * tiling.columns + channel] = store<T>(sum / count);
  });
}

template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    averageBackwardKernel(ColumnTiling tiling, const T* dy, T* dx) {
  const float count = static_cast<float>(tiling.rows);
  for (int64_t block = blockIdx.x; block < tiling.blocks(); block += gridDim.x) {
    const int64_t image = tiling.groupOf(block);
    const int64_t channel = tiling.columnOf(block, static_cast<int>(threadIdx.x));
    if (channel >= tiling.columns) continue;
    auto pack = Lanes<T, lanes>::read(dy + image * tiling.columns + channel);
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      pack.values[lane] = store<T>(load(pack.values[lane]) / count);
    }
    for (int64_t pixel = threadIdx.y; pixel < tiling.rows; pixel += tiling.slices) {
      pack.write(dx + tiling.elementOf(image, pixel, channel));
    }
  }
}

WindowAxis axisOf(int64_t extent, int64_t outputs, int64_t window, int64_t stride,
                  int64_t padding) {
  return {static_cast<int>(extent), static_cast<int>(outputs), static_cast<int>(window),
          static_cast<int>(stride), static_cast<int>(padding)};
}

PoolTiling tilingOf(const Instruction& instruction, const MaxPooling& pooling, int lanes) {
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

const Operand& indexOf(const Instruction& instruction, const MaxPooling& pooling,
                       const Operand& index) {
  if (pooling.window.height * pooling.window.width > 255) {
    throw Error("ERR_KERNEL", "onehour",
                "[" + instruction.op + "] expected a record of one byte a maximum, a window of " +
                    std::to_string(pooling.window.height) + "×" +
                    std::to_string(pooling.window.width) +
                    " has too many places; try a window of fewer than 256 values");
  }
  return expect(instruction, index, DataType::u8, pooling.y);
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

std::unique_ptr<Kernel> maxPool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const Operand* index = instruction.findOutput("index");
  const MaxPooling pooling = maxPoolingOf(instruction, x, y);
  void* places = index == nullptr ? nullptr : indexOf(instruction, pooling, *index).data;
  return withLanes(x.type, x.shape[3], {x.data, y.data}, places, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const PoolTiling tiling = tilingOf(instruction, pooling, lanes);
    const LoadedKernel kernel(pooling.window.height == 3 && pooling.window.width == 3
                                  ? maxPoolKernel<T, lanes, 3>
                                  : maxPoolKernel<T, lanes, 0>);
    return makeKernel(
        [=, grid = gridFor(tiling.outputRows(), traitsOf(context)),
         block = dim3(
             static_cast<unsigned>(threadsFor(tiling.width.outputs * tiling.packs(), threads))),
         x = x.as<T>(), y = y.as<T>(), index = static_cast<uint8_t*>(places)](Stream& stream) {
          launch(kernel, grid, block, 0, stream, tiling, x, y, index);
        });
  });
}

std::unique_ptr<Kernel> maxPoolBackward(const Instruction& instruction, PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  const MaxPooling pooling = maxPoolingOf(instruction, dx, dy);
  const Operand& index = indexOf(instruction, pooling, instruction.input("index"));
  return withLanes(dx.type, dx.shape[3], {dy.data, dx.data}, index.data, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const PoolTiling tiling = tilingOf(instruction, pooling, lanes);
    const LoadedKernel kernel(tiling.height.mostOver() <= 2 && tiling.width.mostOver() <= 2
                                  ? maxPoolBackwardKernel<T, lanes, 2>
                                  : maxPoolBackwardKernel<T, lanes, 0>);
    return makeKernel(
        [=, grid = gridFor(tiling.inputRows(), traitsOf(context)),
         block =
             dim3(static_cast<unsigned>(threadsFor(tiling.width.extent * tiling.packs(), threads))),
         dy = dy.as<T>(), index = index.as<uint8_t>(), dx = dx.as<T>()](Stream& stream) {
          launch(kernel, grid, block, 0, stream, tiling, dy, index, dx);
        });
  });
}

// `image` is x or its gradient, `mean` y or its gradient.
ColumnTiling averageTiling(const Operand& image, int lanes) {
  return columnTiling(image.shape[0], image.shape[1] * image.shape[2], image.shape[3], lanes);
}

std::unique_ptr<Kernel> globalAveragePool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  expectAverage(instruction, x, y);
  return withLanes(x.type, x.shape[3], {x.data}, nullptr, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = averageTiling(x, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), x = x.as<T>(), y = y.as<T>(),
         kernel = LoadedKernel(averageKernel<T, decltype(lanes)::value>)](Stream& stream) {
          launch(kernel, grid, blockOf(tiling), 0, stream, tiling, x, y);
        });
  });
}

std::unique_ptr<Kernel> globalAveragePoolBackward(const Instruction& instruction,
                                                  PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  expectAverage(instruction, dx, dy);
  return withLanes(dx.type, dx.shape[3], {dy.data, dx.data}, nullptr, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = averageTiling(dx, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), dy = dy.as<T>(),
         dx = dx.as<T>(), kernel = LoadedKernel(averageBackwardKernel<T, decltype(lanes)::value>)](
            Stream& stream) { launch(kernel, grid, blockOf(tiling), 0, stream, tiling, dy, dx); });
  });
}

}  // namespace

const KernelTable& poolKernels() {
  static const KernelTable table{
      {"global-average-pool", globalAveragePool},
      {"global-average-pool-backward", globalAveragePoolBackward},
      {"max-pool", maxPool},
      {"max-pool-backward", maxPoolBackward},
  };
  return table;
}

}  // namespace onehour::cuda
