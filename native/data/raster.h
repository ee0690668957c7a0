// An image that is decoded whole, before the part that is wanted is resized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace onehour::data {

struct Raster {
  int width;
  int height;
  std::vector<uint8_t> pixels;  // u8[height, width, 3]

  uint8_t* at(int row, int column) {
    return &pixels[(static_cast<size_t>(row) * width + column) * 3];
  }
};

}  // namespace onehour::data
