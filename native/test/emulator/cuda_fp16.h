// The type half on the host, with the conversions that this project's kernels use.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "cuda_runtime_api.h"

struct __half {
  uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};

inline float __half2float(__half value) {
  const int exponent = value.bits >> 10 & 31;
  const auto fraction = static_cast<float>(value.bits & 1023);
  const float sign = (value.bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(fraction + 1024, exponent - 25);
}
// To the nearest, ties to even; a NaN becomes the canonical one, as on the device.
inline __half __float2half_rn(float value) {
  if (std::isnan(value)) return {0x7fff};
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520) return {static_cast<uint16_t>(sign | 0x7c00)};
  // A number's ulp is 2⁻²⁴ below 2⁻¹⁴, and 2⁻¹⁰ of its power of two above.
  const int power = magnitude < 0x1p-14f ? -24 : std::ilogb(magnitude) - 10;
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -power)));
  const int bits = magnitude < 0x1p-14f ? units : ((power + 24) << 10) + units;
  return {static_cast<uint16_t>(sign | bits)};
}
inline __half2 __floats2half2_rn(float x, float y) {
  return {__float2half_rn(x), __float2half_rn(y)};
}
inline float2 __half22float2(__half2 value) {
  return {__half2float(value.x), __half2float(value.y)};
}
