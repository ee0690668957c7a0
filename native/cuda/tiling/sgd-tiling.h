// How the optimizer's blocks share a flat range, and which segment an element lies in.
#pragma once

#include <cstdint>

#include "tiling.h"

namespace onehour::cuda {

// A block walks over consecutive tiles; in a tile a thread has `packs` accesses of `lanes`
// elements, the threads' side by side.
struct SgdTiling {
  static constexpr int threads = 256;
  static constexpr int packs = 2;

  int64_t count;  // elements
  int lanes;
  int blocks;

  ONEHOUR_BOTH constexpr int64_t tileElements() const {
    return static_cast<int64_t>(threads) * packs * lanes;
  }
  ONEHOUR_BOTH constexpr int64_t tiles() const { return ceilDivide(count, tileElements()); }
  // The first tile of a block; one block's last is the one before the next block's first.
  ONEHOUR_BOTH constexpr int64_t firstTile(int block) const {
    const int64_t even = tiles() / blocks;
    const int64_t rest = tiles() % blocks;
    return block * even + (block < rest ? block : rest);
  }
  ONEHOUR_BOTH constexpr int64_t element(int64_t tile, int pack, int thread) const {
    return tile * tileElements() + (static_cast<int64_t>(pack) * threads + thread) * lanes;
  }
};

// Where a segment ends, and how it is updated. A table's last end is beyond every element.
struct SegmentEnd {
  int64_t end;
  float decay;  // λ
  bool adapts;  // whether its rate follows its norms
};

// The segment of an element.
ONEHOUR_BOTH constexpr int segmentAt(const SegmentEnd* segments, int count, int64_t element) {
  int low = 0;
  int high = count - 1;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (segments[middle].end > element) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace onehour::cuda
