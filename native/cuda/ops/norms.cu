// Norms of parameters and gradients, in tiles that are summed in double precision, and clipping by
// them.
#include "../../core/ops/norms.h"
#include "../runtime/cuda.h"
#include "../runtime/upload.h"
#include "../tiling/block-reduce.cuh"
#include "../tiling/tiling.h"
#include "kernels.h"

namespace onehour::cuda {
namespace {

constexpr int threads = 256;  // of a block

// Of a tile.
struct Sums {
  double weights, gradients;
  int notFinite;
};

// A tile, in every thread.
__device__ Sums sumTile(const float* w, const float* g, NormTile tile) {
  Sums sums{0, 0, 0};
#pragma unroll 4
  for (int64_t i = tile.begin + threadIdx.x; i < tile.end; i += threads) {
    const double weight = w[i];
    const double gradient = g[i];
    sums.weights += weight * weight;
    sums.gradients += gradient * gradient;
    sums.notFinite += isfinite(g[i]) ? 0 : 1;
  }
  return {blockReduce<Sum>(sums.weights), blockReduce<Sum>(sums.gradients),
          blockReduce<Sum>(sums.notFinite)};
}

// A tensor from its tiles, in every lane of a warp.
__device__ Sums sumTensor(const Sums* tiles, int begin, int end) {
  Sums sums{0, 0, 0};
  for (int i = begin + static_cast<int>(threadIdx.x) % 32; i < end; i += 32) {
    sums.weights += __ldcg(&tiles[i].weights);
    sums.gradients += __ldcg(&tiles[i].gradients);
    sums.notFinite += __ldcg(&tiles[i].notFinite);
  }
  return {warpReduce<Sum>(sums.weights), warpReduce<Sum>(sums.gradients),
          warpReduce<Sum>(sums.notFinite)};
}

// The blocks share the tiles, the last one sums each tensor's.
__global__ void __launch_bounds__(threads)
    normsKernel(const float* w, const float* g, const NormTile* tiles, int tileCount,
                const int32_t* tensors, int tensorCount, Sums* sums, float* norms,
                unsigned int* arrived) {
  for (int i = static_cast<int>(blockIdx.x); i < tileCount; i += static_cast<int>(gridDim.x)) {
    const Sums own = sumTile(w, g, tiles[i]);
    if (threadIdx.x == 0) sums[i] = own;
  }
  if (!isLastBlock(arrived)) return;
  for (int i = static_cast<int>(threadIdx.x) / 32; i < tensorCount; i += threads / 32) {
    const Sums own = sumTensor(sums, tensors[i], tensors[i + 1]);
    if (threadIdx.x % 32 != 0) continue;
    norms[3 * i] = static_cast<float>(own.weights);
    norms[3 * i + 1] = static_cast<float>(own.gradients);
    norms[3 * i + 2] = static_cast<float>(own.notFinite);
  }
}

std::unique_ptr<Kernel> norms(const Instruction& instruction, PrepareContext& context) {
  const Norms operands = normsOf(instruction);
  Backend& backend = context.backend;
  return makeKernel(
      [w = operands.w.as<float>(), g = operands.g.as<float>(), norms = operands.norms.as<float>(),
       tileCount = static_cast<int>(operands.tiles.size()), kernel = LoadedKernel(normsKernel),
       tensorCount = static_cast<int>(operands.norms.shape[0]),
       tiles = upload(operands.tiles, backend), tensors = upload(operands.tensors, backend),
       sums = backend.allocate(operands.tiles.size() * sizeof(Sums), MemoryKind::device),
       arrived = backend.allocate(sizeof(unsigned int), MemoryKind::device),
       grid = gridFor(static_cast<int64_t>(operands.tiles.size()), traitsOf(context))](
          Stream& stream) {
        launch(kernel, grid, dim3(threads), stream, w, g, static_cast<const NormTile*>(tiles.get()),
               tileCount, static_cast<const int32_t*>(tensors.get()), tensorCount,
               static_cast<Sums*>(sums.get()), norms, static_cast<unsigned int*>(arrived.get()));
      });
}

// The factor that clipping multiplies the gradient by; the norms become those of the result. One
// block.
__global__ void __launch_bounds__(threads)
    clipFactorKernel(float* norms, int tensorCount, double limit, float* factor) {
  double total = 0;
  double notFinite = 0;
  for (int i = static_cast<int>(threadIdx.x); i < tensorCount; i += threads) {
    total += norms[3 * i + 1];
    notFinite += norms[3 * i + 2];
  }
  total = blockReduce<Sum>(total);
  notFinite = blockReduce<Sum>(notFinite);
  const double ratio = limit / (sqrt(total) + clipEpsilon);
  const double own = notFinite > 0 || ratio > 1 ? 1 : ratio;
  if (threadIdx.x == 0) *factor = static_cast<float>(own);
  for (int i = static_cast<int>(threadIdx.x); i < tensorCount; i += threads) {
    if (own < 1) norms[3 * i + 1] = static_cast<float>(norms[3 * i + 1] * own * own);
  }
}

__global__ void __launch_bounds__(threads)
    clipScaleKernel(float* g, int64_t count, const float* factor) {
  const float own = *factor;
  if (own == 1) return;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count;
       i += stride) {
    g[i] *= own;
  }
}

std::unique_ptr<Kernel> clipNorm(const Instruction& instruction, PrepareContext& context) {
  const ClipNorm operands = clipNormOf(instruction);
  const int64_t count = operands.g.count();
  return makeKernel(
      [g = operands.g.as<float>(), count, norms = operands.norms.as<float>(),
       tensorCount = static_cast<int>(operands.norms.shape[0]), limit = operands.limit,
       find = LoadedKernel(clipFactorKernel), scale = LoadedKernel(clipScaleKernel),
       factor = context.backend.allocate(sizeof(float), MemoryKind::device),
       grid = gridFor(ceilDivide(count, threads), traitsOf(context))](Stream& stream) {
        auto* own = static_cast<float*>(factor.get());
        launch(find, dim3(1), dim3(threads), stream, norms, tensorCount, limit, own);
        launch(scale, grid, dim3(threads), stream, g, count, own);
      });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"clip-norm", {"g:f32[L] norms:f32[S,3] -> g:f32[L] norms:f32[S,3]", clipNorm, 2}},
      {"norms", {"w:f32[L] g:f32[L] -> norms:f32[S,3]", norms}},
  };
});

}  // namespace

}  // namespace onehour::cuda
