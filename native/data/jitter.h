// Changes the brightness, contrast and saturation of an image (Howard 2013).
#pragma once

#include <cstdint>

namespace onehour::data {

// Factors; 1 changes nothing.
struct Jitter {
  double brightness = 1;
  double contrast = 1;    // away from the image's mean grey
  double saturation = 1;  // away from each pixel's own grey
};

// In this order, in place, on u8[pixels, 3].
void applyJitter(const Jitter& jitter, uint8_t* image, int64_t pixels);

}  // namespace onehour::data
