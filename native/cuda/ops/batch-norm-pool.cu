// Batch normalisation, ReLU and max pooling in one pass, and their gradient in one: the image in
// between is neither written nor read.
#include "../../core/ops/dispatch.h"
#include "batch-norm.cuh"
#include "max-pool.cuh"

namespace onehour::cuda {
namespace {

// Calls `body(image, row, column)` for the places of a tile, whose rows are those of images of
// `height` × `width` places.
template <typename Body>
__device__ __forceinline__ void overImages(const RowTiling& tiling, const RowTile& tile,
                                           const int height, const int width, Body body) {
  const int64_t first = tiling.firstRow(tiling.rowBlock(blockIdx.x));
  const int64_t firstRow = first / width;
  auto place = static_cast<uint32_t>(first - firstRow * width) + static_cast<uint32_t>(tile.row);
  for (int i = 0; i < tile.count; ++i, place += static_cast<uint32_t>(tiling.rowsPerPass)) {
    const uint32_t below = place / static_cast<uint32_t>(width);
    const int row = static_cast<int>(firstRow) + static_cast<int>(below);
    const int image = row / height;
    body(image, row - image * height, static_cast<int>(place - below * width));
  }
}

// ------------------------------------------------------------------------------------------ apply
template <typename T>
struct PooledTensors {
  T* y;
  uint8_t* index;  // nullptr: not wanted
  T* maxima;       // nullptr: not wanted
};

// The values of a window are compared as they would have been stored.
template <typename T, int lanes, int side>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    applyMaxPoolKernel(RowTiling tiling, PoolTiling pool, const T* x, PooledTensors<T> to,
                       Affine affine, bool relu) {
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), false);
  float vectors[3][lanes];  // mean, scale, beta
  channelVectors(tiling, tile, vectors, [&](int64_t channel, float(&values)[3]) {
    values[0] = affine.mean[channel];
    values[1] = affine.scale(channel);
    values[2] = affine.beta[channel];
  });
  const int channel = static_cast<int>(tiling.firstChannel(blockIdx.x)) + tile.column * lanes;
  const auto write = [&](int image, int p, int q) {
    Maxima<lanes> maxima(firstPosition(pool, p, q));
    Pack<T, lanes> sources{};
    overWindow<lanes, side, true>(
        pool, x, image, p, q, channel, [&](const Pack<T, lanes>& pack, int position, bool inside) {
          float source[lanes];
          float value[lanes];
          pack.unpack(source);
#pragma unroll
          for (int j = 0; j < lanes; ++j) {
            value[j] = normalized(source[j], vectors[0][j], vectors[1][j], vectors[2][j]);
            value[j] = relu && value[j] < 0 ? 0.0f : value[j];
          }
          Pack<T, lanes>::of(value).unpack(value);
          maxima.look(value, position, inside,
                      [&](int lane) { sources.values[lane] = pack.values[lane]; });
        });
    const int64_t at = pool.output(image, p, q, channel);
    Pack<T, lanes>::of(maxima.values).write(to.y + at);
    if (to.index != nullptr) maxima.writePositions(to.index + at);
    if (to.maxima != nullptr) sources.write(to.maxima + at);
  };
  overImages(tiling, tile, pool.height.outputs, pool.width.outputs, write);
}

std::unique_ptr<Kernel> makeApply(const Instruction& instruction, PrepareContext& context,
                                  const BatchNormApply& op) {
  const WindowPooling pooling = windowPoolingOf(instruction, op.x, op.y);
  const Operand* index = instruction.findOutput("index");
  const Operand* maxima = instruction.findOutput("maxima");
  if (index != nullptr) checkIndex(instruction, pooling);
  const auto data = [](const Operand* operand) {
    return operand == nullptr ? nullptr : operand->data;
  };
  return withLanes(
      op.x.type, {op.x.shape[3]}, {op.x.data, op.y.data, data(index), data(maxima)},
      [&](auto tag, auto lanes) {
        using T = decltype(tag);
        const PooledTensors<T> to{op.y.as<T>(), static_cast<uint8_t*>(data(index)),
                                  static_cast<T*>(data(maxima))};
        return withSide(pooling, [&](auto side) {
          return makeKernel(
              [tiling = tilingOf(op.y, lanes, context),
               pool = tilingOf(instruction, pooling, lanes), x = op.x.as<T>(), to,
               affine = affineOf(op), relu = op.relu,
               kernel = LoadedKernel(
                   applyMaxPoolKernel<T, decltype(lanes)::value, decltype(side)::value>)](
                  Stream& stream) {
                launchRows(kernel, tiling, stream, pool, x, to, affine, relu);
              });
        });
      });
}

std::unique_ptr<Kernel> apply(const Instruction& instruction, PrepareContext& context) {
  return makeApply(instruction, context, BatchNormApply(instruction, false));
}

std::unique_ptr<Kernel> inference(const Instruction& instruction, PrepareContext& context) {
  return makeApply(instruction, context, BatchNormApply(instruction, true));
}

// --------------------------------------------------------------------------------------- backward
template <typename T, int lanes, int most>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    backwardMaxPoolKernel(RowTiling tiling, PoolTiling pool, const T* dz, const uint8_t* index,
                          const T* x, T* dx, Gradient from) {
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), false);
  float vectors[4][lanes];  // mean, scale, slope, offset
  channelVectors(tiling, tile, vectors, [&](int64_t channel, float(&values)[4]) {
    from.fill(channel, tiling.channels, values);
  });
  const int channel = static_cast<int>(tiling.firstChannel(blockIdx.x)) + tile.column * lanes;
  const auto write = [&](int image, int h, int w) {
    const int64_t at = pool.input(image, h, w, channel);
    const auto pack = Pack<T, lanes>::readOnce(x + at);
    float gradient[lanes] = {};
    gather<lanes, most>(pool, dz, index, image, h, w, channel, gradient);
    float value[lanes];
    pack.unpack(value);
#pragma unroll
    for (int j = 0; j < lanes; ++j) {
      gradient[j] = gradientOf(gradient[j], value[j], vectors[0][j], vectors[1][j], vectors[2][j],
                               vectors[3][j]);
    }
    Pack<T, lanes>::of(gradient).write(dx + at);
  };
  overImages(tiling, tile, pool.height.extent, pool.width.extent, write);
}

std::unique_ptr<Kernel> backward(const Instruction& instruction, PrepareContext& context) {
  const BatchNormBackward op(instruction);
  const WindowPooling pooling = windowPoolingOf(instruction, op.x, op.dz);
  const Operand& index = instruction.input("index");
  checkIndex(instruction, pooling);
  return withLanes(
      op.x.type, {op.x.shape[3]}, {op.dz.data, index.data, op.x.data, op.dx.data},
      [&](auto tag, auto lanes) {
        using T = decltype(tag);
        const PoolTiling pool = tilingOf(instruction, pooling, lanes);
        return withMost(pool, [&](auto most) {
          return makeKernel(
              [tiling = tilingOf(op.x, lanes, context), pool, dz = op.dz.as<T>(),
               index = index.as<uint8_t>(), x = op.x.as<T>(), dx = op.dx.as<T>(),
               from = Gradient(op),
               kernel = LoadedKernel(
                   backwardMaxPoolKernel<T, decltype(lanes)::value, decltype(most)::value>)](
                  Stream& stream) {
                launchRows(kernel, tiling, stream, pool, dz, index, x, dx, from);
              });
        });
      });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"batch-norm-apply-max-pool",
       {"x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta:f32[C] -> y:T[N,P,Q,C] "
        "index?:u8[N,P,Q,C] maxima?:T[N,P,Q,C]",
        apply}},
      {"batch-norm-backward-max-pool",
       {"dz:T[N,P,Q,C] index:u8[N,P,Q,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] "
        "sums:f32[2C] -> dx:T[N,H,W,C]",
        backward}},
      {"batch-norm-inference-max-pool",
       {"x:T[N,H,W,C] running-mean:f32[C] running-variance:f32[C] gamma:f32[C] beta:f32[C] -> "
        "y:T[N,P,Q,C] index?:u8[N,P,Q,C]",
        inference}},
  };
});

}  // namespace

}  // namespace onehour::cuda
