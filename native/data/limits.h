// How much memory and work one image may take: a file that asks for more counts as damaged. No
// limit is a time, so that an image is decoded on every machine or on none.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace onehour::data {

// Bytes at most of an image's file, of its pixels in RGB, and of its coefficients where they are
// kept.
constexpr int64_t kMostBytes = int64_t{1} << 28;
constexpr int64_t kMostPixels = kMostBytes / 3;
constexpr int64_t kMostSide = 65535;  // pixels
// Scans of a JPEG file. Encoders write about ten, and cannot need more than some dozens.
constexpr int kMostScans = 100;
// Blocks of 8 × 8 coefficients decoded for an image, over all of its scans, where those of
// arithmetic coding count for more: they take as long, and may do so without a byte of the file.
constexpr int64_t kMostBlocks = int64_t{1} << 25;
constexpr int64_t kArithmeticCost = 16;

// Throws where an image of that size is too large.
inline void requireSize(int64_t width, int64_t height) {
  if (width >= 1 && height >= 1 && width <= kMostSide && height <= kMostSide &&
      width * height <= kMostPixels) {
    return;
  }
  throw std::runtime_error("it has " + std::to_string(width) + " × " + std::to_string(height) +
                           " pixels; expected from 1 to " + std::to_string(kMostSide) +
                           " on each side and at most " + std::to_string(kMostPixels) + " in all");
}

// An image that this module does not decode, but another may.
struct Foreign : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace onehour::data
