// A few consecutive elements as one access of up to 16 bytes, for kernels that choose the width of
// their accesses by channel count and alignment.
#pragma once

#include <cstdint>
#include <type_traits>

#include "device.cuh"

namespace onehour::cuda {

// The word of `bytes` bytes.
template <int bytes>
using Word = std::conditional_t<
    bytes == 16, uint4,
    std::conditional_t<bytes == 8, uint2,
                       std::conditional_t<bytes == 4, uint32_t,
                                          std::conditional_t<bytes == 2, uint16_t, uint8_t>>>>;

template <typename T, int lanes>
struct alignas(lanes * sizeof(T)) Lanes {
  using Access = Word<lanes* static_cast<int>(sizeof(T))>;
  T values[lanes];

  static __device__ __forceinline__ Lanes read(const T* from) {
    Lanes result;
    *reinterpret_cast<Access*>(result.values) = *reinterpret_cast<const Access*>(from);
    return result;
  }
  // For data that is read once: it leaves the caches first.
  static __device__ __forceinline__ Lanes readOnce(const T* from) {
    Lanes result;
    *reinterpret_cast<Access*>(result.values) = __ldcs(reinterpret_cast<const Access*>(from));
    return result;
  }
  __device__ __forceinline__ void write(T* to) const {
    *reinterpret_cast<Access*>(to) = *reinterpret_cast<const Access*>(values);
  }
};

// Whether rows of `extent` elements that begin at `data` can be walked `lanes` at a time.
template <typename T>
bool dividesInto(int lanes, int64_t extent, const T* data) {
  return extent % lanes == 0 && reinterpret_cast<uintptr_t>(data) % (lanes * sizeof(T)) == 0;
}

}  // namespace onehour::cuda
