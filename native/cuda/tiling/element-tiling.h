// How kernels walk tensors of which only the number of elements matters.
#pragma once

#include <cstdint>

#include "tiling.h"

namespace onehour::cuda {

// A thread has four accesses a tensor on their way, the threads of a multiprocessor 128 KiB.
constexpr int elementThreads = 256;
constexpr int elementBatch = 4;

struct ElementTiling {
  int64_t count;  // elements
  int lanes;      // elements of a pack

  ONEHOUR_BOTH int64_t packs() const { return count / lanes; }
  ONEHOUR_BOTH int64_t blocks() const {
    const int64_t full = ceilDivide(packs(), elementThreads * elementBatch);
    return full > 0 ? full : 1;
  }
  // Pack k of a thread's batch; it exists when it is less than packs().
  ONEHOUR_BOTH int64_t pack(int64_t block, int k, int thread) const {
    return (block * elementBatch + k) * elementThreads + thread;
  }
  // The element after the last whole pack that a thread takes by itself, or −1.
  ONEHOUR_BOTH int64_t tail(int64_t block, int thread) const {
    const int64_t element = packs() * lanes + thread;
    return block == blocks() - 1 && element < count ? element : -1;
  }
};

}  // namespace onehour::cuda
