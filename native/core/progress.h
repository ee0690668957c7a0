// Process-wide counters that the heartbeat thread reports: work done, and who waits for peers.
#pragma once

#include <atomic>
#include <cstdint>

namespace onehour::progress {

inline std::atomic<uint64_t> completed{0};  // kernels finished and prepared, JavaScript's own ticks
inline std::atomic<int32_t> waiting{0};     // collectives in flight that block a thread

inline void advance() { completed.fetch_add(1, std::memory_order_relaxed); }

// Marks a blocking wait for peers for as long as it lives.
struct WaitingScope {
  WaitingScope() { waiting.fetch_add(1, std::memory_order_relaxed); }
  ~WaitingScope() {
    waiting.fetch_sub(1, std::memory_order_relaxed);
    advance();
  }
};

}  // namespace onehour::progress
