// Which pixels a pooling window covers along one axis, and which windows cover a pixel.
#pragma once

#include <cstdint>

#include "tiling.h"

namespace onehour::cuda {

struct WindowAxis {
  int extent;   // pixels
  int outputs;  // windows
  int window, stride, padding;

  // Pixel under the window's first position; negative in the padding.
  ONEHOUR_BOTH constexpr int start(int output) const { return output * stride - padding; }
  // The window's first position that is not in the padding.
  ONEHOUR_BOTH constexpr int firstInside(int output) const {
    return start(output) < 0 ? -start(output) : 0;
  }
  // The position after its last one that is not in the padding.
  ONEHOUR_BOTH constexpr int endInside(int output) const {
    const int left = extent - start(output);
    return left < window ? left : window;
  }

  // The first window that covers the pixel.
  ONEHOUR_BOTH constexpr int firstOver(int pixel) const {
    const int beyond = pixel + padding - window;
    return beyond < 0 ? 0 : beyond / stride + 1;
  }
  // The window after the last one; no more than `firstOver` where none does.
  ONEHOUR_BOTH constexpr int endOver(int pixel) const {
    const int end = (pixel + padding) / stride + 1;
    return end < outputs ? end : outputs;
  }
  // Windows over one pixel, at most.
  ONEHOUR_BOTH constexpr int mostOver() const { return (window + stride - 1) / stride; }
};

// Max pooling from [images, height, width, channels]. Rows, and the values of a row, are fewer than
// 2³⁰, and so are windows' rows and theirs: `int` counts them, and rounds over them.
struct PoolTiling {
  int images;
  int channels;
  int lanes;  // channels of a thread, a divisor of `channels`
  WindowAxis height, width;

  ONEHOUR_BOTH constexpr int packs() const { return channels / lanes; }

  // A block takes a row of pixels or of windows, its threads the row's packs of channels.
  ONEHOUR_BOTH constexpr int inputRows() const { return images * height.extent; }
  ONEHOUR_BOTH constexpr int outputRows() const { return images * height.outputs; }
  ONEHOUR_BOTH constexpr int64_t input(int image, int h, int w, int channel) const {
    const int64_t row = static_cast<int64_t>(image) * height.extent + h;
    return (row * width.extent + w) * channels + channel;
  }
  ONEHOUR_BOTH constexpr int64_t output(int image, int p, int q, int channel) const {
    const int64_t row = static_cast<int64_t>(image) * height.outputs + p;
    return (row * width.outputs + q) * channels + channel;
  }
};

}  // namespace onehour::cuda
