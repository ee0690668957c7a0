// Vector code for several instruction sets in one binary: `simd(body)` runs a loop compiled for
// the best of SSE2, AVX2 and AVX-512 that this processor has. Also the types bf16 and f16 and their
// rounding.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "../../core/program.h"

namespace onehour::cpu {

// Bodies given to `simd` must be inlined into the function that carries the instruction set:
// `simd([=]() ONEHOUR_INLINE { for (…) … })`. The loops themselves are plain; the compiler
// vectorises them after inlining.
#define ONEHOUR_INLINE __attribute__((always_inline))

enum class InstructionSet : int { baseline, avx2, avx512 };

// The best set of this processor; tests lower it to compare the variants.
inline InstructionSet& instructionSet() {
  static InstructionSet best = [] {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      return InstructionSet::avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      return InstructionSet::avx2;
    }
#endif
    return InstructionSet::baseline;
  }();
  return best;
}

// The closure is copied so that its captures live in registers.
template <typename Body>
[[gnu::noinline]] void simdBaseline(const Body& body) {
  Body local = body;
  local();
}

#if defined(__x86_64__)
template <typename Body>
[[gnu::noinline, gnu::target("avx2,fma")]] void simdAvx2(const Body& body) {
  Body local = body;
  local();
}

template <typename Body>
[[gnu::noinline,
  gnu::target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")]] void
simdAvx512(const Body& body) {
  Body local = body;
  local();
}
#endif

template <typename Body>
inline void simd(const Body& body) {
#if defined(__x86_64__)
  switch (instructionSet()) {
    case InstructionSet::avx512:
      return simdAvx512(body);
    case InstructionSet::avx2:
      return simdAvx2(body);
    case InstructionSet::baseline:
      break;
  }
#endif
  simdBaseline(body);
}

struct bf16 {
  uint16_t bits;
};

ONEHOUR_INLINE inline float load(float value) { return value; }
ONEHOUR_INLINE inline float load(bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

struct f16 {
  uint16_t bits;
};

// Without branches, so that the compiler makes vectors of it: numbers, then subnormal ones, whose
// fraction is added to a power of two and which that is taken from, then infinities and NaNs.
ONEHOUR_INLINE inline float load(f16 value) {
  const uint32_t magnitude = value.bits & 0x7fffu;
  const uint32_t moved = magnitude << 13;
  const float smallest = std::bit_cast<float>(113u << 23);  // the smallest normal number, 2⁻¹⁴
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(moved + (113u << 23)) - smallest);
  const uint32_t bits = magnitude < 0x0400u   ? subnormal
                        : magnitude < 0x7c00u ? moved + (112u << 23)
                                              : moved | 0x7f800000u;
  return std::bit_cast<float>(bits | (value.bits & 0x8000u) << 16);
}

// To the nearest f16, ties to even; from 65,520 on that is infinity. A NaN stays one.
ONEHOUR_INLINE inline f16 halfOf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Below the smallest normal number an addition rounds to multiples of 2⁻²⁴.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
                             std::bit_cast<uint32_t>(0.5f);
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  const uint32_t half = magnitude > 0x7f800000u    ? 0x7e00u
                        : magnitude >= 0x477ff000u ? 0x7c00u
                        : magnitude < 113u << 23   ? subnormal
                                                   : normal;
  return f16{static_cast<uint16_t>(half | (bits >> 16 & 0x8000u))};
}

// To the storage type, bf16 and f16 rounded to nearest even. Any value that arithmetic gives is
// stored right, NaNs included; for foreign NaNs, whose last bits may be anything, see `storeAny`.
template <typename T>
ONEHOUR_INLINE inline T store(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, f16>) {
    return halfOf(value);
  } else {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    return bf16{static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
  }
}

// The same for values from outside: every NaN stays a NaN.
template <typename T>
ONEHOUR_INLINE inline T storeAny(float value) {
  if constexpr (!std::is_same_v<T, bf16>) {
    return store<T>(value);
  } else {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return nan ? bf16{static_cast<uint16_t>((bits >> 16) | 0x40u)} : store<bf16>(value);
  }
}

// Calls `body(T{})` with float, bf16 or f16.
template <typename Body>
decltype(auto) withType(DataType type, Body&& body) {
  switch (type) {
    case DataType::bf16:
      return body(bf16{});
    case DataType::f16:
      return body(f16{});
    default:
      return body(float{});
  }
}

}  // namespace onehour::cpu
