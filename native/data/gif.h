// The first frame of a GIF image, on its screen.
#pragma once

#include <cstdint>
#include <span>

#include "raster.h"

namespace onehour::data {

bool isGif(std::span<const uint8_t> file);

// A transparent color is a color like any other, and what the frame does not cover has it too, or
// else the first one. Throws std::runtime_error where the file is damaged or cut short, or has more
// pixels than limits.h allows.
Raster decodeGif(std::span<const uint8_t> file);

}  // namespace onehour::data
