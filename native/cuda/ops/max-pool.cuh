// What kernels with max pooling in them share: the maximum of a window, and the gradient of a
// pixel.
#pragma once

#include "pool.cuh"

namespace onehour::cuda {

__device__ __forceinline__ int clamp(int value, int end) {
  return value < 0 ? 0 : value < end ? value : end - 1;
}

// The first maximum of a window for each of a thread's channels. A NaN is larger than any number.
template <int lanes>
struct Maxima {
  float values[lanes];
  int positions[lanes];

  __device__ __forceinline__ explicit Maxima(int firstPosition) {
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      values[lane] = -INFINITY;
      positions[lane] = firstPosition;
    }
  }

  // Calls `taken(lane)` where the candidate is the largest so far.
  template <typename Taken>
  __device__ __forceinline__ void look(const float (&candidates)[lanes], int position, bool inside,
                                       Taken taken) {
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      const float value = candidates[lane];
      if (inside && (value > values[lane] || value != value)) {
        values[lane] = value;
        positions[lane] = position;
        taken(lane);
      }
    }
  }

  __device__ __forceinline__ void writePositions(uint8_t* index) const {
    Pack<uint8_t, lanes> bytes;
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      bytes.values[lane] = static_cast<uint8_t>(positions[lane]);
    }
    bytes.write(index);
  }
};

// The position of the window's first pixel that is not in the padding.
__device__ __forceinline__ int firstPosition(const PoolTiling& tiling, int p, int q) {
  return tiling.height.firstInside(p) * tiling.width.window + tiling.width.firstInside(q);
}

// Calls `look(pack, position, inside)` for the pixels of a window in their order. `side` is the
// window's side where it is known at compile time, or 0: then all its loads are in flight at once,
// or those of a row where `byRows` says so; those in the padding are from the nearest pixel, which
// is not inside.
template <int lanes, int side, bool byRows, typename T, typename Look>
__device__ __forceinline__ void overWindow(const PoolTiling& tiling, const T* x, int image, int p,
                                           int q, int channel, Look look) {
  using Access = Pack<T, lanes>;
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  const auto pixel = [&](int r, int s) {
    return x + tiling.input(image, clamp(height.start(p) + r, height.extent),
                            clamp(width.start(q) + s, width.extent), channel);
  };
  const auto isInside = [](const WindowAxis& axis, int output, int at) {
    return at >= axis.firstInside(output) && at < axis.endInside(output);
  };
  if constexpr (side > 0 && !byRows) {
    Access packs[side * side];
#pragma unroll
    for (int i = 0; i < side * side; ++i) packs[i] = Access::read(pixel(i / side, i % side));
#pragma unroll
    for (int i = 0; i < side * side; ++i) {
      look(packs[i], i, isInside(height, p, i / side) && isInside(width, q, i % side));
    }
  } else {
#pragma unroll 1
    for (int r = height.firstInside(p); r < height.endInside(p); ++r) {
      const int position = r * width.window;
      if constexpr (side > 0) {
        Access packs[side];
#pragma unroll
        for (int s = 0; s < side; ++s) packs[s] = Access::read(pixel(r, s));
#pragma unroll
        for (int s = 0; s < side; ++s) look(packs[s], position + s, isInside(width, q, s));
      } else {
#pragma unroll 1
        for (int s = width.firstInside(q); s < width.endInside(q); ++s) {
          look(Access::read(pixel(r, s)), position + s, true);
        }
      }
    }
  }
}

// Adds to `sums` the gradients of the windows whose maximum the pixel is, in the windows' order.
// `most` is the largest number of windows over a pixel along each axis where it is known at compile
// time, or 0.
template <int lanes, int most, typename T>
__device__ __forceinline__ void gather(const PoolTiling& tiling, const T* dy, const uint8_t* index,
                                       int image, int h, int w, int channel, float (&sums)[lanes]) {
  const WindowAxis& height = tiling.height;
  const WindowAxis& width = tiling.width;
  const int firstP = height.firstOver(h);
  const int firstQ = width.firstOver(w);
  const int endP = height.endOver(h);
  const int endQ = width.endOver(w);
  const auto add = [&](const Pack<uint8_t, lanes>& positions, const Pack<T, lanes>& gradients,
                       int p, int q, bool over) {
    const int position = (h - height.start(p)) * width.window + w - width.start(q);
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      if (over && positions.values[lane] == position) sums[lane] += load(gradients.values[lane]);
    }
  };
  if constexpr (most > 0) {
    Pack<uint8_t, lanes> positions[most * most];
    Pack<T, lanes> gradients[most * most];
#pragma unroll
    for (int i = 0; i < most * most; ++i) {
      const int64_t from = tiling.output(image, clamp(firstP + i / most, height.outputs),
                                         clamp(firstQ + i % most, width.outputs), channel);
      positions[i] = Pack<uint8_t, lanes>::read(index + from);
      gradients[i] = Pack<T, lanes>::read(dy + from);
    }
#pragma unroll
    for (int i = 0; i < most * most; ++i) {
      const int p = firstP + i / most;
      const int q = firstQ + i % most;
      add(positions[i], gradients[i], p, q, p < endP && q < endQ);
    }
  } else {
    for (int p = firstP; p < endP; ++p) {
#pragma unroll 1
      for (int q = firstQ; q < endQ; ++q) {
        const int64_t from = tiling.output(image, p, q, channel);
        add(Pack<uint8_t, lanes>::read(index + from), Pack<T, lanes>::read(dy + from), p, q, true);
      }
    }
  }
}

// Calls `body` with the side of the window, or the windows over a pixel, as a constant.
template <typename Body>
auto withSide(const WindowPooling& pooling, Body&& body) {
  return pooling.window.height == 3 && pooling.window.width == 3
             ? body(std::integral_constant<int, 3>{})
             : body(std::integral_constant<int, 0>{});
}

template <typename Body>
auto withMost(const PoolTiling& tiling, Body&& body) {
  return tiling.height.mostOver() <= 2 && tiling.width.mostOver() <= 2
             ? body(std::integral_constant<int, 2>{})
             : body(std::integral_constant<int, 0>{});
}

}  // namespace onehour::cuda
