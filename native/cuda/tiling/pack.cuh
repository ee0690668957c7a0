// Vectors of up to 16 bytes, with fp32 arithmetic in between, and how wide they may be.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "../../core/program.h"
#include "tiling.h"

namespace onehour::cuda {

using bf16 = __nv_bfloat16;
using f16 = __half;

__device__ __forceinline__ float load(float value) { return value; }
__device__ __forceinline__ float load(bf16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float load(f16 value) { return __half2float(value); }

// Rounded to nearest even; what an f16 cannot hold becomes infinity.
template <typename T>
__device__ __forceinline__ T store(float value) {
  if constexpr (sizeof(T) == 4) {
    return value;
  } else if constexpr (std::is_same_v<T, f16>) {
    return __float2half_rn(value);
  } else {
    return __float2bfloat16_rn(value);
  }
}

// The unsigned type of one access of this many bytes.
template <size_t bytes>
struct AccessOf;
template <>
struct AccessOf<1> {
  using type = uint8_t;
};
template <>
struct AccessOf<2> {
  using type = uint16_t;
};
template <>
struct AccessOf<4> {
  using type = uint32_t;
};
template <>
struct AccessOf<8> {
  using type = uint2;
};
template <>
struct AccessOf<16> {
  using type = uint4;
};

// Consecutive elements, read and written in one access; the address is a multiple of it.
template <typename T, int count = static_cast<int>(lanesOf<T>)>
struct alignas(count * sizeof(T)) Pack {
  using Access = typename AccessOf<count * sizeof(T)>::type;
  T values[count];

  static __device__ __forceinline__ Pack read(const T* from) {
    Pack result;
    *reinterpret_cast<Access*>(result.values) = *reinterpret_cast<const Access*>(from);
    return result;
  }
  // For data that is read once: it leaves the caches first.
  static __device__ __forceinline__ Pack readOnce(const T* from) {
    Pack result;
    *reinterpret_cast<Access*>(result.values) = __ldcs(reinterpret_cast<const Access*>(from));
    return result;
  }
  __device__ __forceinline__ void write(T* to) const {
    *reinterpret_cast<Access*>(to) = *reinterpret_cast<const Access*>(values);
  }

  // By words of two where the type has 16 bits, which must not take a register a value.
  __device__ __forceinline__ void unpack(float (&floats)[count]) const {
    if constexpr (inPairs) {
      const uint32_t* words = reinterpret_cast<const uint32_t*>(values);
#pragma unroll
      for (int i = 0; i < count; i += 2) {
        if constexpr (std::is_same_v<T, f16>) {
          const float2 pair = __half22float2(reinterpret_cast<const __half2&>(words[i / 2]));
          floats[i] = pair.x;
          floats[i + 1] = pair.y;
        } else {
          const uint32_t bits[] = {words[i / 2] << 16, words[i / 2] & 0xffff0000u};
          floats[i] = reinterpret_cast<const float&>(bits[0]);
          floats[i + 1] = reinterpret_cast<const float&>(bits[1]);
        }
      }
    } else {
#pragma unroll
      for (int i = 0; i < count; ++i) floats[i] = load(values[i]);
    }
  }
  __device__ __forceinline__ void addTo(float (&sums)[count]) const {
    float floats[count];
    unpack(floats);
#pragma unroll
    for (int i = 0; i < count; ++i) sums[i] += floats[i];
  }
  static __device__ __forceinline__ Pack of(const float (&floats)[count]) {
    Pack result;
    if constexpr (inPairs) {
      uint32_t* words = reinterpret_cast<uint32_t*>(result.values);
#pragma unroll
      for (int i = 0; i < count; i += 2) {
        const auto pair = pairOf(floats[i], floats[i + 1]);
        words[i / 2] = reinterpret_cast<const uint32_t&>(pair);
      }
    } else {
#pragma unroll
      for (int i = 0; i < count; ++i) result.values[i] = store<T>(floats[i]);
    }
    return result;
  }

 private:
  static constexpr bool inPairs = sizeof(T) == 2 && count % 2 == 0;

  static __device__ __forceinline__ auto pairOf(float a, float b) {
    if constexpr (std::is_same_v<T, f16>) {
      return __floats2half2_rn(a, b);
    } else {
      return __floats2bfloat162_rn(a, b);
    }
  }
};

// Runs `body` with a value of the tensor's element type: f32, bf16 or f16.
template <typename Body>
auto withType(DataType type, Body&& body) {
  switch (type) {
    case DataType::bf16:
      return body(bf16{});
    case DataType::f16:
      return body(f16{});
    default:
      return body(float{});
  }
}

// Whether rows of `extent` elements, in all of these tensors, can be walked `lanes` at a time.
template <typename... T>
bool dividesInto(int64_t lanes, int64_t extent, const T*... tensors) {
  return extent % lanes == 0 &&
         (... && (reinterpret_cast<uintptr_t>(tensors) % (lanes * sizeof(T)) == 0));
}

// Calls `body` with the lanes of a thread as a constant: those of 16 bytes, or one.
template <typename T, typename Body>
auto withLanes(bool wide, Body&& body) {
  return wide ? body(std::integral_constant<int, static_cast<int>(lanesOf<T>)>{})
              : body(std::integral_constant<int, 1>{});
}

// Calls `body` with the element type too; lanes of 16 bytes where all extents and addresses allow.
template <typename Body>
auto withLanes(DataType type, std::initializer_list<int64_t> extents,
               std::initializer_list<const void*> addresses, Body&& body) {
  return withType(type, [&](auto tag) {
    using T = decltype(tag);
    bool wide = true;
    for (const int64_t extent : extents) wide = wide && extent % lanesOf<T> == 0;
    for (const void* address : addresses) {
      wide = wide && reinterpret_cast<uintptr_t>(address) % accessBytes == 0;
    }
    return withLanes<T>(wide, [&](auto lanes) { return body(tag, lanes); });
  });
}

}  // namespace onehour::cuda
