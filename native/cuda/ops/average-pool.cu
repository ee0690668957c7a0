// Average pooling, of windows and of whole images. The gradient of windows is gathered, each pixel
// from the windows over it, so that nothing is added in memory.
#include "../tiling/column-sum.cuh"
#include "pool.cuh"

namespace onehour::cuda {
namespace {

// Zeros of the padding count, as in PyTorch: every window has one divisor.
template <typename T, int lanes>
__global__ void __launch_bounds__(poolThreads, residentPoolBlocks)
    averagePoolKernel(PoolTiling tiling, const T* x, T* y) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  const int packs = tiling.packs();
  const float count = static_cast<float>(height.window) * static_cast<float>(width.window);
  for (int row = static_cast<int>(blockIdx.x); row < tiling.outputRows();
       row += static_cast<int>(gridDim.x)) {
    const int image = row / height.outputs;
    const int p = row - image * height.outputs;
    for (int item = static_cast<int>(threadIdx.x); item < width.outputs * packs;
         item += static_cast<int>(blockDim.x)) {
      const int q = item / packs;
      const int channel = (item - q * packs) * lanes;
      float sums[lanes] = {};
      for (int r = height.firstInside(p); r < height.endInside(p); ++r) {
        for (int s = width.firstInside(q); s < width.endInside(q); ++s) {
          const auto pack = Lanes<T, lanes>::read(
              x + tiling.input(image, height.start(p) + r, width.start(q) + s, channel));
#pragma unroll
          for (int lane = 0; lane < lanes; ++lane) sums[lane] += load(pack.values[lane]);
        }
      }
      Lanes<T, lanes> result;
#pragma unroll
      for (int lane = 0; lane < lanes; ++lane) result.values[lane] = store<T>(sums[lane] / count);
      result.write(y + tiling.output(image, p, q, channel));
    }
  }
}

template <typename T, int lanes>
__global__ void __launch_bounds__(poolThreads, residentPoolBlocks)
    averagePoolBackwardKernel(PoolTiling tiling, const T* dy, T* dx) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  const int packs = tiling.packs();
  const float count = static_cast<float>(height.window) * static_cast<float>(width.window);
  for (int row = static_cast<int>(blockIdx.x); row < tiling.inputRows();
       row += static_cast<int>(gridDim.x)) {
    const int image = row / height.extent;
    const int h = row - image * height.extent;
    for (int item = static_cast<int>(threadIdx.x); item < width.extent * packs;
         item += static_cast<int>(blockDim.x)) {
      const int w = item / packs;
      const int channel = (item - w * packs) * lanes;
      float sums[lanes] = {};
      for (int p = height.firstOver(h); p < height.endOver(h); ++p) {
        for (int q = width.firstOver(w); q < width.endOver(w); ++q) {
          const auto pack = Lanes<T, lanes>::read(dy + tiling.output(image, p, q, channel));
#pragma unroll
          for (int lane = 0; lane < lanes; ++lane) sums[lane] += load(pack.values[lane]);
        }
      }
      Lanes<T, lanes> result;
#pragma unroll
      for (int lane = 0; lane < lanes; ++lane) result.values[lane] = store<T>(sums[lane] / count);
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

// `image` is x or its gradient, `mean` y or its gradient.
ColumnTiling averageTiling(const Operand& image, int lanes) {
  return columnTiling(image.shape[0], image.shape[1] * image.shape[2], image.shape[3], lanes);
}

// The block for a row of so many pixels or windows.
dim3 rowOf(int columns, const PoolTiling& tiling) {
  return dim3(static_cast<unsigned>(threadsFor(columns * tiling.packs(), poolThreads)));
}

}  // namespace

std::unique_ptr<Kernel> averagePool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const WindowPooling pooling = windowPoolingOf(instruction, x, y);
  return withLanes(x.type, x.shape[3], {x.data, y.data}, nullptr, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const PoolTiling tiling = tilingOf(instruction, pooling, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.outputRows(), traitsOf(context)),
         block = rowOf(tiling.width.outputs, tiling), x = x.as<T>(), y = y.as<T>(),
         kernel = LoadedKernel(averagePoolKernel<T, decltype(lanes)::value>)](Stream& stream) {
          launch(kernel, grid, block, 0, stream, tiling, x, y);
        });
  });
}

std::unique_ptr<Kernel> averagePoolBackward(const Instruction& instruction,
                                            PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  const WindowPooling pooling = windowPoolingOf(instruction, dx, dy);
  return withLanes(dx.type, dx.shape[3], {dy.data, dx.data}, nullptr, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const PoolTiling tiling = tilingOf(instruction, pooling, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.inputRows(), traitsOf(context)),
         block = rowOf(tiling.width.extent, tiling), dy = dy.as<T>(), dx = dx.as<T>(),
         kernel = LoadedKernel(averagePoolBackwardKernel<T, decltype(lanes)::value>)](
            Stream& stream) { launch(kernel, grid, block, 0, stream, tiling, dy, dx); });
  });
}

std::unique_ptr<Kernel> globalAveragePool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
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
  return withLanes(dx.type, dx.shape[3], {dy.data, dx.data}, nullptr, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = averageTiling(dx, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), dy = dy.as<T>(),
         dx = dx.as<T>(), kernel = LoadedKernel(averageBackwardKernel<T, decltype(lanes)::value>)](
            Stream& stream) { launch(kernel, grid, blockOf(tiling), 0, stream, tiling, dy, dx); });
  });
}

}  // namespace onehour::cuda
