// Index arithmetic of the CUDA kernels as plain functions of both sides, so that tests without a
// GPU can walk every element of a launch.
#pragma once

#include <cstdint>

#include "../../core/both.h"

namespace onehour::cuda {

// Bytes of one access of a thread: the widest that the device has.
constexpr int64_t accessBytes = 16;

template <typename T>
constexpr int64_t lanesOf = accessBytes / static_cast<int64_t>(sizeof(T));

ONEHOUR_BOTH constexpr int64_t ceilDivide(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// Multiprocessors that NCCL's collectives take at most (`maxCTAs` of their communicators): each of
// its blocks keeps one to itself. The statistics of a layer, a few KiB, may go out while a bucket
// of gradients does.
constexpr int statisticsMultiprocessors = 4;
constexpr int gradientMultiprocessors = 20;
constexpr int collectiveMultiprocessors = gradientMultiprocessors + statisticsMultiprocessors;

// Multiprocessors that a kernel may count on while a collective runs next to it. One whose blocks
// fill them exactly takes as many waves with a collective as without: all of the device would need
// a second wave for the few blocks that the collective keeps out. These saturate the memory too.
constexpr int besideCollectives(int multiprocessors) {
  const int quarter = multiprocessors / 4;
  return multiprocessors -
         (quarter < collectiveMultiprocessors ? quarter : collectiveMultiprocessors);
}

// Threads of a block that walks over `items` in rounds, at most `limit` at once: whole warps, the
// last round as full as the others.
ONEHOUR_BOTH constexpr int threadsFor(int64_t items, int limit = 256) {
  const int64_t rounds = ceilDivide(items, limit);
  return static_cast<int>(32 * ceilDivide(ceilDivide(items, rounds), 32));
}

}  // namespace onehour::cuda
