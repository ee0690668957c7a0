// Process-wide counters that the heartbeat thread reports: work done, waits for peers, kernels
// that run without waiting, and batches being read.
#pragma once

#include <atomic>
#include <cstdint>

namespace onehour::progress {

struct Counters {
  std::atomic<uint64_t> completed{0};  // kernels finished and prepared, JavaScript's own ticks
  std::atomic<int32_t> waiting{0};     // collectives in flight that block a thread
  std::atomic<int32_t> running{0};     // kernels on a thread of the host that do not wait for peers
  std::atomic<int32_t> reading{0};     // batches that JavaScript reads from a data set
};

// Every module has counters of its own until it is given those of the first one; a module is never
// unloaded.
inline Counters own;
inline std::atomic<Counters*> shared{&own};

inline Counters& counters() { return *shared.load(std::memory_order_acquire); }

inline void advance() { counters().completed.fetch_add(1, std::memory_order_relaxed); }

// Whether this thread runs a kernel.
inline thread_local bool inKernel = false;

// Marks a kernel that runs on this thread for as long as it lives, but for its waits for peers.
class KernelScope {
 public:
  KernelScope() {
    inKernel = true;
    counters_.running.fetch_add(1, std::memory_order_relaxed);
  }
  ~KernelScope() {
    counters_.running.fetch_sub(1, std::memory_order_relaxed);
    inKernel = false;
  }
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;

 private:
  Counters& counters_ = counters();
};

// Marks a blocking wait for peers for as long as it lives.
class WaitingScope {
 public:
  WaitingScope() {
    counters_.waiting.fetch_add(1, std::memory_order_relaxed);
    counters_.running.fetch_sub(kernels_, std::memory_order_relaxed);
  }
  ~WaitingScope() {
    counters_.running.fetch_add(kernels_, std::memory_order_relaxed);
    counters_.waiting.fetch_sub(1, std::memory_order_relaxed);
    counters_.completed.fetch_add(1, std::memory_order_relaxed);
  }
  WaitingScope(const WaitingScope&) = delete;
  WaitingScope& operator=(const WaitingScope&) = delete;

 private:
  Counters& counters_ = counters();
  const int32_t kernels_ = inKernel ? 1 : 0;  // that wait here
};

}  // namespace onehour::progress
