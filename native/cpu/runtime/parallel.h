// Static splits of a range over the threads of the stream that runs the kernel.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace onehour::cpu {

// Elements below which a parallel region costs more than it saves.
constexpr int64_t parallelThreshold = 16384;

inline int threadsFor(int64_t elements) {
  return elements < parallelThreshold ? 1 : omp_get_max_threads();
}

// Splits [0, count) in `threads` contiguous parts whose bounds are multiples of `grain`, and calls
// `body(thread, begin, end)` for each that is not empty. The split depends on the arguments alone.
// `body` must not throw.
template <typename Body>
void parallelRanges(int threads, int64_t count, int64_t grain, const Body& body) {
  const int64_t grains = (count + grain - 1) / grain;
  const auto part = [&](int64_t thread) {
    const int64_t begin = std::min(count, grains * thread / threads * grain);
    const int64_t end = std::min(count, grains * (thread + 1) / threads * grain);
    if (begin < end) body(static_cast<int>(thread), begin, end);
  };
  if (threads == 1) return part(0);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int thread = 0; thread < threads; ++thread) part(thread);
}

// The same for plain elementwise work.
template <typename Body>
void parallelElements(int64_t count, const Body& body) {
  parallelRanges(threadsFor(count), count, 64,
                 [&](int, int64_t begin, int64_t end) { body(begin, end); });
}

}  // namespace onehour::cpu
