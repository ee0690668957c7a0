// Maximum pooling. The maximum's place in its window is kept as one byte an output; its gradient is
// gathered, each pixel from the windows over it, so that nothing is added in memory.
#include "max-pool.cuh"

namespace onehour::cuda {
namespace {

template <typename T, int lanes, int side>
__global__ void __launch_bounds__(poolThreads, residentPoolBlocks)
    maxPoolKernel(PoolTiling tiling, const T* x, T* y, uint8_t* index) {
  overWindows<lanes>(tiling, [&](int image, int p, int q, int channel) {
    Maxima<lanes> maxima(firstPosition(tiling, p, q));
    overWindow<lanes, side, false>(tiling, x, image, p, q, channel,
                                   [&](const Pack<T, lanes>& pack, int position, bool inside) {
                                     float values[lanes];
                                     pack.unpack(values);
                                     maxima.look(values, position, inside, [](int) {});
                                   });
    const int64_t to = tiling.output(image, p, q, channel);
    Pack<T, lanes>::of(maxima.values).write(y + to);
    if (index != nullptr) maxima.writePositions(index + to);
  });
}

template <typename T, int lanes, int most>
__global__ void __launch_bounds__(poolThreads, residentPoolBlocks)
    maxPoolBackwardKernel(PoolTiling tiling, const T* dy, const uint8_t* index, T* dx) {
  overPixels<lanes>(tiling, [&](int image, int h, int w, int channel) {
    float sums[lanes] = {};
    gather<lanes, most>(tiling, dy, index, image, h, w, channel, sums);
    Pack<T, lanes>::of(sums).write(dx + tiling.input(image, h, w, channel));
  });
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
    const LoadedKernel kernel(withSide(
        pooling, [&](auto side) { return maxPoolKernel<T, lanes, decltype(side)::value>; }));
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
        const LoadedKernel kernel(withMost(tiling, [&](auto most) {
          return maxPoolBackwardKernel<T, lanes, decltype(most)::value>;
        }));
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
