// Changes the brightness, contrast and saturation of a picture (Howard 2013).
#pragma once

#include <cstdint>

namespace onehour::data {

// Factors; 1 changes nothing.
struct Jitter {
  double brightness = 1;
  double contrast = 1;    // away from the picture's mean grey
  double saturation = 1;  // away from each pixel's own grey
};

// In this order, in place, on u8[pixels, 3].
void applyJitter(const Jitter& jitter, uint8_t* picture, int64_t pixels);

}  // namespace onehour::data
