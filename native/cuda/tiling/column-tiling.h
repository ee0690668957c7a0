// How blocks walk over the columns of matrices that lie one after the other: a block takes a tile
// of columns, and its rows of threads share the matrix's rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tiling.h"

namespace onehour::cuda {

struct ColumnTiling {
  static constexpr int threads = 256;    // at most
  static constexpr int mostSlices = 32;  // rows of threads

  int64_t groups;  // matrices
  int64_t rows;
  int64_t columns;
  int lanes;   // columns of a thread, a divisor of `columns`
  int width;   // threads side by side
  int slices;  // rows of threads, one below the other

  ONEHOUR_BOTH constexpr int64_t tiles() const {
    return ceilDivide(columns, static_cast<int64_t>(width) * lanes);
  }
  ONEHOUR_BOTH constexpr int64_t blocks() const { return groups * tiles(); }

  ONEHOUR_BOTH constexpr int64_t groupOf(int64_t block) const { return block / tiles(); }
  // The first column of a thread of `block`; beyond `columns` it has none.
  ONEHOUR_BOTH constexpr int64_t columnOf(int64_t block, int thread) const {
    return (block % tiles() * width + thread) * lanes;
  }
  ONEHOUR_BOTH constexpr int64_t elementOf(int64_t group, int64_t row, int64_t column) const {
    return (group * rows + row) * columns + column;
  }
};

// Few rows leave more threads for columns, so that a thread has at least some four rows to fetch at
// once.
inline ColumnTiling columnTiling(int64_t groups, int64_t rows, int64_t columns, int lanes) {
  ColumnTiling tiling{groups, rows, columns, lanes, 1, 1};
  while (tiling.slices < ColumnTiling::mostSlices && rows >= 8 * tiling.slices) tiling.slices *= 2;
  while (tiling.width < ColumnTiling::threads / tiling.slices &&
         static_cast<int64_t>(tiling.width) * lanes < columns) {
    tiling.width *= 2;
  }
  return tiling;
}

}  // namespace onehour::cuda
