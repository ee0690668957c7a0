// Values of all threads of a warp or block combined into one, in an order that depends on nothing
// but the block's size.
#pragma once

#include <cuda_runtime.h>

namespace onehour::cuda {

struct Sum {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};

// Passes over NaNs.
struct Largest {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// In every thread of a warp.
template <typename Combine, typename T>
__device__ __forceinline__ T warpReduce(T value, Combine combine = {}) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  return value;
}

// In every thread. The block is one row of whole warps; every thread takes part.
template <typename Combine, typename T>
__device__ T blockReduce(T value, Combine combine = {}) {
  __shared__ T parts[32];
  value = warpReduce(value, combine);
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  value = parts[0];
  for (int warp = 1; warp < warps; ++warp) value = combine(value, parts[warp]);
  __syncthreads();  // `parts` may be written again
  return value;
}

// Counts the blocks that have come here; true in all threads of the last of `blocks`, which then
// sees what the others wrote before. `arrived` is zero before and afterwards.
__device__ __forceinline__ bool isLastBlock(unsigned int* arrived, unsigned int blocks) {
  __shared__ bool last;
  __syncthreads();  // the block's own writes are done
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(arrived, 1u) == blocks - 1;
    if (last) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// Of all blocks of the launch.
__device__ __forceinline__ bool isLastBlock(unsigned int* arrived) {
  return isLastBlock(arrived, gridDim.x);
}

}  // namespace onehour::cuda
