// Process-wide counters that the heartbeat thread reports: work done, and who waits for peers.
#pragma once

#include <atomic>
#include <cstdint>

namespace onehour::progress {

struct Counters {
  std::atomic<uint64_t> completed{0};  // kernels finished and prepared, JavaScript's own ticks
  std::atomic<int32_t> waiting{0};     // collectives in flight that block a thread
};

// Every module has counters of its own until it is given those of the first one; a module is never
// unloaded.
inline Counters own;
inline std::atomic<Counters*> shared{&own};

inline Counters& counters() { return *shared.load(std::memory_order_acquire); }

inline void advance() { counters().completed.fetch_add(1, std::memory_order_relaxed); }

// Marks a blocking wait for peers for as long as it lives.
class WaitingScope {
 public:
  WaitingScope() { counters_.waiting.fetch_add(1, std::memory_order_relaxed); }
  ~WaitingScope() {
    counters_.waiting.fetch_sub(1, std::memory_order_relaxed);
    counters_.completed.fetch_add(1, std::memory_order_relaxed);
  }
  WaitingScope(const WaitingScope&) = delete;
  WaitingScope& operator=(const WaitingScope&) = delete;

 private:
  Counters& counters_ = counters();
};

}  // namespace onehour::progress
