// Which elements a thread of the convolutions' own kernels works on.
#pragma once

#include "tiling.h"

namespace onehour::cuda {

constexpr int convThreads = 256;  // a block

// Consecutive elements of one thread: `lanes` of them, fewer at the end.
struct ElementRange {
  int64_t begin, end;
};

ONEHOUR_BOTH constexpr ElementRange elementsOf(int64_t block, int64_t thread, int64_t lanes,
                                               int64_t count) {
  const int64_t begin = (block * convThreads + thread) * lanes;
  return {begin < count ? begin : count, begin + lanes < count ? begin + lanes : count};
}

ONEHOUR_BOTH constexpr int64_t blocksFor(int64_t count, int64_t lanes) {
  return ceilDivide(ceilDivide(count, lanes), convThreads);
}

}  // namespace onehour::cuda
