// Vector code for several instruction sets in one binary: `simd(body)` runs a loop compiled for
// the best of SSE2, AVX2 and AVX-512 that this processor has. Also the bf16 type and its rounding.
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

// To the storage type, bf16 rounded to nearest even. Any value that arithmetic gives is stored
// right, NaNs included; for foreign NaNs, whose last bits may be anything, see `storeAny`.
template <typename T>
ONEHOUR_INLINE inline T store(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    return bf16{static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
  }
}

// The same for values from outside: every NaN stays a NaN.
template <typename T>
ONEHOUR_INLINE inline T storeAny(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return nan ? bf16{static_cast<uint16_t>((bits >> 16) | 0x40u)} : store<bf16>(value);
  }
}

// Calls `body(T{})` with float or bf16.
template <typename Body>
decltype(auto) withType(DataType type, Body&& body) {
  return type == DataType::bf16 ? body(bf16{}) : body(float{});
}

}  // namespace onehour::cpu
