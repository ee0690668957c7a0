// Average pooling, of windows and of whole images. The gradient of windows is gathered, each pixel
// from the windows over it, so that nothing is added in memory.
#include "../tiling/column-sum.cuh"
#include "pool.cuh"

namespace onehour::cuda {
namespace {

template <typename T, int lanes>
__device__ __forceinline__ void writeMeans(float (&sums)[lanes], float count, T* to) {
#pragma unroll
  for (int lane = 0; lane < lanes; ++lane) sums[lane] /= count;
  Pack<T, lanes>::of(sums).write(to);
}

__device__ __forceinline__ float placesOf(const PoolTiling& tiling) {
  return static_cast<float>(tiling.height.window) * static_cast<float>(tiling.width.window);
}

// Zeros of the padding count, as in PyTorch: every window has one divisor.
template <typename T, int lanes>
__global__ void __launch_bounds__(poolThreads, residentPoolBlocks)
    averagePoolKernel(PoolTiling tiling, const T* x, T* y) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  const float count = placesOf(tiling);
  overWindows<lanes>(tiling, [&](int image, int p, int q, int channel) {
    float sums[lanes] = {};
    for (int r = height.firstInside(p); r < height.endInside(p); ++r) {
      for (int s = width.firstInside(q); s < width.endInside(q); ++s) {
        const int64_t from = tiling.input(image, height.start(p) + r, width.start(q) + s, channel);
        Pack<T, lanes>::read(x + from).addTo(sums);
      }
    }
    writeMeans<T>(sums, count, y + tiling.output(image, p, q, channel));
  });
}

template <typename T, int lanes>
__global__ void __launch_bounds__(poolThreads, residentPoolBlocks)
    averagePoolBackwardKernel(PoolTiling tiling, const T* dy, T* dx) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  const float count = placesOf(tiling);
  overPixels<lanes>(tiling, [&](int image, int h, int w, int channel) {
    float sums[lanes] = {};
    for (int p = height.firstOver(h); p < height.endOver(h); ++p) {
      for (int q = width.firstOver(w); q < width.endOver(w); ++q) {
        Pack<T, lanes>::read(dy + tiling.output(image, p, q, channel)).addTo(sums);
      }
    }
    writeMeans<T>(sums, count, dx + tiling.input(image, h, w, channel));
  });
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
  overColumns(
      tiling,
      [&](int64_t image, int64_t channel) {
        float means[lanes];
        Pack<T, lanes>::read(dy + image * tiling.columns + channel).unpack(means);
#pragma unroll
        for (int lane = 0; lane < lanes; ++lane) means[lane] /= count;
        return Pack<T, lanes>::of(means);
      },
      [&](int64_t at, const Pack<T, lanes>& means) { means.write(dx + at); });
}

std::unique_ptr<Kernel> averagePool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const WindowPooling pooling = windowPoolingOf(instruction, x, y);
  return withLanes(x.type, {x.shape[3]}, {x.data, y.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const PoolTiling tiling = tilingOf(instruction, pooling, lanes);
    return makeKernel([tiling, grid = gridFor(tiling.outputRows(), traitsOf(context)),
                       block = rowOf(tiling.width.outputs, tiling), x = x.as<T>(), y = y.as<T>(),
                       kernel = LoadedKernel(averagePoolKernel<T, decltype(lanes)::value>)](
                          Stream& stream) { launch(kernel, grid, block, stream, tiling, x, y); });
  });
}

std::unique_ptr<Kernel> averagePoolBackward(const Instruction& instruction,
                                            PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  const WindowPooling pooling = windowPoolingOf(instruction, dx, dy);
  return withLanes(dx.type, {dx.shape[3]}, {dy.data, dx.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const PoolTiling tiling = tilingOf(instruction, pooling, lanes);
    return makeKernel([tiling, grid = gridFor(tiling.inputRows(), traitsOf(context)),
                       block = rowOf(tiling.width.extent, tiling), dy = dy.as<T>(), dx = dx.as<T>(),
                       kernel = LoadedKernel(averagePoolBackwardKernel<T, decltype(lanes)::value>)](
                          Stream& stream) { launch(kernel, grid, block, stream, tiling, dy, dx); });
  });
}

std::unique_ptr<Kernel> globalAveragePool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  return withLanes(x.type, {x.shape[3]}, {x.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = imageTiling(x, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), x = x.as<T>(), y = y.as<T>(),
         kernel = LoadedKernel(averageKernel<T, decltype(lanes)::value>)](Stream& stream) {
          launch(kernel, grid, blockOf(tiling), stream, tiling, x, y);
        });
  });
}

std::unique_ptr<Kernel> globalAveragePoolBackward(const Instruction& instruction,
                                                  PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  return withLanes(dx.type, {dx.shape[3]}, {dy.data, dx.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = imageTiling(dx, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), dy = dy.as<T>(),
         dx = dx.as<T>(), kernel = LoadedKernel(averageBackwardKernel<T, decltype(lanes)::value>)](
            Stream& stream) { launch(kernel, grid, blockOf(tiling), stream, tiling, dy, dx); });
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"average-pool", {"x:T[N,H,W,C] -> y:T[N,P,Q,C]", averagePool}},
      {"average-pool-backward", {"dy:T[N,P,Q,C] -> dx:T[N,H,W,C]", averagePoolBackward}},
      {"global-average-pool", {"x:T[N,H,W,C] -> y:T[N,C]", globalAveragePool}},
      {"global-average-pool-backward", {"dy:T[N,C] -> dx:T[N,H,W,C]", globalAveragePoolBackward}},
  };
});

}  // namespace
}  // namespace onehour::cuda
