// What the kernels by Winograd's algorithm share: tiles, the transform of the inputs, and the
// matrix product of a few rows by two vectors. To be compiled with contraction of products and
// sums.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../runtime/simd.h"
#include "winograd.h"

namespace onehour::cpu::winograd {

constexpr int64_t points = 16;      // of a transformed tile of 4×4
constexpr int64_t lineFloats = 16;  // of a cache line

constexpr int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Floats between rows of `channels` values that start on cache lines. A power of two would put all
// rows into the same few sets of the cache.
constexpr int64_t paddedStride(int64_t channels) {
  return roundUp(channels, lineFloats) + lineFloats;
}

// The tiles of 2×2 pixels of a batch, in the order of their pixels. Those at the lower and right
// edge may overhang.
struct Tiles {
  int64_t n, h, w;
  int64_t down, across;  // tiles of an image

  explicit Tiles(const WinogradProblem& problem)
      : n(problem.n),
        h(problem.h),
        w(problem.w),
        down((problem.h + 1) / 2),
        across((problem.w + 1) / 2) {}

  int64_t count() const { return n * down * across; }

  // Calls `body(i, image, row, column)` for the i-th of `count` tiles from `first` on, with the
  // place of its upper left pixel.
  template <typename Body>
  ONEHOUR_INLINE void forEach(int64_t first, int64_t count, const Body& body) const {
    int64_t column = first % across, row = first / across % down, image = first / across / down;
    for (int64_t i = 0; i < count; ++i) {
      body(i, image, 2 * row, 2 * column);
      if (++column < across) continue;
      column = 0;
      if (++row < down) continue;
      row = 0;
      ++image;
    }
  }

  // The channels of size×size pixels from (row, column) on; `outside` for those outside the image.
  template <int size, typename T>
  ONEHOUR_INLINE void pixels(T* x, int64_t channels, int64_t image, int64_t row, int64_t column,
                             T* outside, T* (&result)[size * size]) const {
    for (int64_t r = 0; r < size; ++r) {
      for (int64_t s = 0; s < size; ++s) {
        const int64_t i = row + r, j = column + s;
        const bool inside = i >= 0 && i < h && j >= 0 && j < w;
        result[size * r + s] = inside ? x + ((image * h + i) * w + j) * channels : outside;
      }
    }
  }
};

// A matrix product's tile of registers: rows by the `lanes` floats of two vectors. For AVX-512 of
// at most 32 registers of 16 floats, else for AVX2 of 16 registers of 8.
struct Registers {
  int64_t rows, lanes;
};

// Tiles in the transformed domain, [16][tiles][stride].
struct Transformed {
  float* data;
  int64_t tiles, stride;

  ONEHOUR_INLINE float* at(int64_t point, int64_t tile) const {
    return data + (point * tiles + tile) * stride;
  }
  ONEHOUR_INLINE int64_t pointStride() const { return tiles * stride; }
};

// Bᵀ x B of `count` tiles from `first` on; `zeros` are as many as there are channels.
inline void transformInputs(const Tiles& tiles, const float* x, int64_t channels, int64_t first,
                            int64_t count, const float* zeros, const Transformed& to) {
  simd([=]() ONEHOUR_INLINE {
    const auto transform = [=](int64_t tile, int64_t image, int64_t row,
                               int64_t column) ONEHOUR_INLINE {
      const float* from[16];
      tiles.pixels<4>(x, channels, image, row - 1, column - 1, zeros, from);
      float* v = to.at(0, tile);
      const int64_t stride = to.pointStride();
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        float t[4][4];
        for (int j = 0; j < 4; ++j) {
          const float x0 = from[j][c], x1 = from[4 + j][c];
          const float x2 = from[8 + j][c], x3 = from[12 + j][c];
          t[0][j] = x0 - x2;
          t[1][j] = x1 + x2;
          t[2][j] = x2 - x1;
          t[3][j] = x1 - x3;
        }
        for (int i = 0; i < 4; ++i) {
          v[(4 * i + 0) * stride + c] = t[i][0] - t[i][2];
          v[(4 * i + 1) * stride + c] = t[i][1] + t[i][2];
          v[(4 * i + 2) * stride + c] = t[i][2] - t[i][1];
          v[(4 * i + 3) * stride + c] = t[i][1] - t[i][3];
        }
      }
    };
    tiles.forEach(first, count, transform);
  });
}

// c[rows][two vectors] = or += Σ a[row·aRow + i·aStep]·b[i·bStep + lane] over i < depth, in order.
template <int bytes, int rows, bool add>
ONEHOUR_INLINE inline void multiply(const float* a, int64_t aRow, int64_t aStep, const float* b,
                                    int64_t bStep, int64_t depth, float* c, int64_t cRow) {
  typedef float Vector __attribute__((vector_size(bytes), may_alias));
  constexpr int width = bytes / sizeof(float);
  Vector sums[rows][2] = {};
  for (int64_t i = 0; i < depth; ++i) {
    const Vector b0 = *reinterpret_cast<const Vector*>(b + i * bStep);
    const Vector b1 = *reinterpret_cast<const Vector*>(b + i * bStep + width);
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) {
      const float value = a[row * aRow + i * aStep];
      sums[row][0] += value * b0;
      sums[row][1] += value * b1;
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
    Vector* to = reinterpret_cast<Vector*>(c + row * cRow);
    to[0] = add ? to[0] + sums[row][0] : sums[row][0];
    to[1] = add ? to[1] + sums[row][1] : sums[row][1];
  }
}

}  // namespace onehour::cpu::winograd
