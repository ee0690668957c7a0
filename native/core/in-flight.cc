#include "in-flight.h"

#include <algorithm>
#include <utility>

namespace onehour {

InFlight::InFlight(std::vector<std::weak_ptr<Communicator>> communicators)
    : communicators_(std::move(communicators)) {}

void InFlight::finish(const Done& done, std::exception_ptr error) {
  count_.fetch_sub(1);
  done(std::move(error));
}

void InFlight::fail(const Error& error) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (first_) return;
    first_ = error;
    failed_.store(true, std::memory_order_release);
  }
  for (const auto& weak : communicators_) {
    if (const auto communicator = weak.lock()) communicator->abort();
  }
}

std::exception_ptr InFlight::failure() const {
  const std::lock_guard lock(mutex_);
  return std::make_exception_ptr(*first_);
}

void InFlight::setSlots(int count) {
  const std::lock_guard lock(mutex_);
  taken_.assign(static_cast<size_t>(count), false);
}

bool InFlight::take(int slot) {
  const std::lock_guard lock(mutex_);
  const auto entry = taken_.begin() + slot;
  if (*entry) return false;
  *entry = true;
  return true;
}

void InFlight::leave(int slot) {
  const std::lock_guard lock(mutex_);
  taken_[static_cast<size_t>(slot)] = false;
}

InFlight::HostMemory InFlight::reuse(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(memory_.begin(), memory_.end(),
                                  [&](const HostMemory& kept) { return kept.bytes >= bytes; });
  if (found == memory_.end()) return {};
  HostMemory reused = std::move(*found);
  memory_.erase(found);
  return reused;
}

void InFlight::giveBack(HostMemory memory) {
  const std::lock_guard lock(mutex_);
  memory_.push_back(std::move(memory));
}

void InFlight::forgetMemory() {
  const std::lock_guard lock(mutex_);
  memory_.clear();
}

}  // namespace onehour
