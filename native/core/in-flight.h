// What is in flight on an executor's device, and its first error: all that a device's callback
// needs. Callbacks share this and never hold the executor: the last of them may come when the
// executor is gone, on the backend's own thread, where the backend must not be destroyed.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "backend.h"
#include "error.h"

namespace onehour {

class InFlight {
 public:
  using Done = std::function<void(std::exception_ptr)>;

  struct HostMemory {
    std::shared_ptr<void> memory;
    size_t bytes = 0;
  };

  // Aborts these when something fails, as long as they live.
  explicit InFlight(std::vector<std::weak_ptr<Communicator>> communicators);

  void begin() { count_.fetch_add(1); }
  void finish(const Done& done, std::exception_ptr error);
  bool any() const { return count_.load() > 0; }

  // Only the first error counts.
  void fail(const Error& error) noexcept;
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  std::exception_ptr failure() const;  // after `failed`

  // Slots of submissions: `take` is false for one that is taken.
  void setSlots(int count);
  bool take(int slot);
  void leave(int slot);

  // Host memory of at least this size that an earlier read gave back; empty when there is none.
  HostMemory reuse(size_t bytes);
  void giveBack(HostMemory memory);
  void forgetMemory();

 private:
  const std::vector<std::weak_ptr<Communicator>> communicators_;
  std::atomic<int> count_{0};
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;  // guards what follows
  std::optional<Error> first_;
  std::vector<bool> taken_;
  std::vector<HostMemory> memory_;
};

}  // namespace onehour
