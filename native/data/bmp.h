// Windows and OS/2 bitmaps: with a palette of up to 256 colors, packed or not, or of 16, 24 or 32
// bits.
#pragma once

#include <cstdint>
#include <span>

#include "raster.h"

namespace onehour::data {

bool isBmp(std::span<const uint8_t> file);

// Transparency is passed over. Throws std::runtime_error where the file is damaged, cut short or of
// a kind that is rare (Huffman codes, embedded JPEG or PNG), or has more pixels than limits.h
// allows.
Raster decodeBmp(std::span<const uint8_t> file);

}  // namespace onehour::data
