#include "jitter.h"

#include <algorithm>
#include <cmath>

namespace onehour::data {
namespace {

constexpr int kColors = 3;

uint8_t toByte(double value) {
  return static_cast<uint8_t>(std::clamp(std::nearbyint(value), 0.0, 255.0));
}

// Luma of ITU-R BT.601.
double greyOf(const uint8_t* pixel) {
  return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
}

}  // namespace

void applyJitter(const Jitter& jitter, uint8_t* image, int64_t pixels) {
  uint8_t* const end = image + pixels * kColors;
  double greys = 0;
  for (uint8_t* pixel = image; pixel < end; pixel += kColors) {
    for (int c = 0; c < kColors; ++c) pixel[c] = toByte(pixel[c] * jitter.brightness);
    greys += greyOf(pixel);
  }
  const double mean = greys / static_cast<double>(pixels);
  for (uint8_t* pixel = image; pixel < end; pixel += kColors) {
    for (int c = 0; c < kColors; ++c) pixel[c] = toByte(mean + (pixel[c] - mean) * jitter.contrast);
    const double grey = greyOf(pixel);
    for (int c = 0; c < kColors; ++c) {
      pixel[c] = toByte(grey + (pixel[c] - grey) * jitter.saturation);
    }
  }
}

}  // namespace onehour::data
