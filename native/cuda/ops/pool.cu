// Maximum pooling. The maximum's place in its window is kept as one byte an output; its gradient is
// gathered, each pixel from the windows over it, so that nothing is added in memory.
#include "pool.cuh"

namespace onehour::cuda {
namespace {

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

  __device__ __forceinline__ void look(const Pack<T, lanes>& pack, int position, bool inside) {
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
__global__ void __launch_bounds__(poolThreads, residentPoolBlocks)
    maxPoolKernel(PoolTiling tiling, const T* x, T* y, uint8_t* index) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  overWindows<lanes>(tiling, [&](int image, int p, int q, int channel) {
    Maxima<T, lanes> maxima(height.firstInside(p) * width.window + width.firstInside(q));
    if constexpr (side > 0) {
      Pack<T, lanes> packsOfWindow[side * side];
#pragma unroll
      for (int i = 0; i < side * side; ++i) {
        const int h = clamp(height.start(p) + i / side, height.extent);
        const int w = clamp(width.start(q) + i % side, width.extent);
        packsOfWindow[i] = Pack<T, lanes>::read(x + tiling.input(image, h, w, channel));
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
          const T* from = x + tiling.input(image, height.start(p) + r, width.start(q) + s, channel);
          maxima.look(Pack<T, lanes>::read(from), r * width.window + s, true);
        }
      }
    }
    Pack<uint8_t, lanes> positions;
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      positions.values[lane] = static_cast<uint8_t>(maxima.positions[lane]);
    }
    const int64_t to = tiling.output(image, p, q, channel);
    Pack<T, lanes>::of(maxima.values).write(y + to);
    if (index != nullptr) positions.write(index + to);
  });
}

// `most` is the largest number of windows over a pixel along each axis where it is known at compile
// time, or 0.
template <typename T, int lanes, int most>
__global__ void __launch_bounds__(poolThreads, residentPoolBlocks)
    maxPoolBackwardKernel(PoolTiling tiling, const T* dy, const uint8_t* index, T* dx) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  overPixels<lanes>(tiling, [&](int image, int h, int w, int channel) {
    const int firstP = height.firstOver(h);
    const int firstQ = width.firstOver(w);
    const int endP = height.endOver(h);
    const int endQ = width.endOver(w);
    float sums[lanes] = {};
    const auto add = [&](const Pack<uint8_t, lanes>& positions, const Pack<T, lanes>& gradients,
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
      Pack<uint8_t, lanes> positions[most * most];
      Pack<T, lanes> gradients[most * most];
#pragma unroll
      for (int i = 0; i < most * most; ++i) {
        const int64_t from = tiling.output(image, clamp(firstP + i / most, height.outputs),
                                           clamp(firstQ + i % most, width.outputs), channel);
        positions[i] = Pack<uint8_t, lanes>::read(index + from);
        gradients[i] = Pack<T, lanes>::read(dy + from);
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
          add(Pack<uint8_t, lanes>::read(index + from), Pack<T, lanes>::read(dy + from), p, q,
              true);
        }
      }
    }
    Pack<T, lanes>::of(sums).write(dx + tiling.input(image, h, w, channel));
  });
}

void checkIndex(const Instruction& instruction, const WindowPooling& pooling) {
  if (pooling.window.height * pooling.window.width > 255) {
    throw Error("ERR_KERNEL", "onehour",
                "[" + instruction.op + "] expected a record of one byte a maximum, a window of " +
                    std::to_string(pooling.window.height) + "×" +
                    std::to_string(pooling.window.width) +
                    " has too many places; try a window of fewer than 256 values");
  }
}

std::unique_ptr<Kernel> maxPool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const Operand* index = instruction.findOutput("index");
  const WindowPooling pooling = windowPoolingOf(instruction, x, y);
  if (index != nullptr) checkIndex(instruction, pooling);
  void* places = index == nullptr ? nullptr : index->data;
  return withLanes(x.type, {x.shape[3]}, {x.data, y.data, places}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const PoolTiling tiling = tilingOf(instruction, pooling, lanes);
    const LoadedKernel kernel(pooling.window.height == 3 && pooling.window.width == 3
                                  ? maxPoolKernel<T, lanes, 3>
                                  : maxPoolKernel<T, lanes, 0>);
    return makeKernel([=, grid = gridFor(tiling.outputRows(), traitsOf(context)),
                       block = rowOf(tiling.width.outputs, tiling), x = x.as<T>(), y = y.as<T>(),
                       index = static_cast<uint8_t*>(places)](Stream& stream) {
      launch(kernel, grid, block, stream, tiling, x, y, index);
    });
  });
}

std::unique_ptr<Kernel> maxPoolBackward(const Instruction& instruction, PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  const WindowPooling pooling = windowPoolingOf(instruction, dx, dy);
  const Operand& index = instruction.input("index");
  checkIndex(instruction, pooling);
  return withLanes(
      dx.type, {dx.shape[3]}, {dy.data, dx.data, index.data}, [&](auto tag, auto lanes) {
        using T = decltype(tag);
        const PoolTiling tiling = tilingOf(instruction, pooling, lanes);
        const LoadedKernel kernel(tiling.height.mostOver() <= 2 && tiling.width.mostOver() <= 2
                                      ? maxPoolBackwardKernel<T, lanes, 2>
                                      : maxPoolBackwardKernel<T, lanes, 0>);
        return makeKernel([=, grid = gridFor(tiling.inputRows(), traitsOf(context)),
                           block = rowOf(tiling.width.extent, tiling), dy = dy.as<T>(),
                           index = index.as<uint8_t>(), dx = dx.as<T>()](Stream& stream) {
          launch(kernel, grid, block, stream, tiling, dy, index, dx);
        });
      });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"max-pool", {"x:T[N,H,W,C] -> y:T[N,P,Q,C] index?:u8[N,P,Q,C]", maxPool}},
      {"max-pool-backward", {"dy:T[N,P,Q,C] index:u8[N,P,Q,C] -> dx:T[N,H,W,C]", maxPoolBackward}},
  };
});

}  // namespace

}  // namespace onehour::cuda
