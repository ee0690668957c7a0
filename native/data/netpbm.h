// PBM, PGM and PPM images (Netpbm's formats), as text or binary, of up to 16 bits a value.
#pragma once

#include <cstdint>
#include <span>

#include "raster.h"

namespace onehour::data {

bool isNetpbm(std::span<const uint8_t> file);

// The first image of the file. Throws std::runtime_error where it is damaged or cut short, or has
// more pixels than limits.h allows.
Raster decodeNetpbm(std::span<const uint8_t> file);

}  // namespace onehour::data
