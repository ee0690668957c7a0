#include "collective-memory.h"

#include <nccl.h>

#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "../runtime/cuda.h"

namespace onehour::cuda {
namespace {

// All of NCCL's allocations of this process, by address. Never destroyed: memory may be freed later
// than static objects are.
struct Allocations {
  struct Entry {
    size_t bytes;
    std::vector<std::function<void(void*)>> releases;
  };

  std::mutex mutex;
  std::map<uintptr_t, Entry> entries;
  bool unregistered = false;  // nothing is registered any more

  static Allocations& instance() {
    static auto* allocations = new Allocations;
    return *allocations;
  }
};

uintptr_t numberOf(const void* address) { return reinterpret_cast<uintptr_t>(address); }

void freeCollectiveMemory(void* base) {
  Allocations& allocations = Allocations::instance();
  std::vector<std::function<void(void*)>> releases;
  {
    const std::lock_guard lock(allocations.mutex);
    const auto found = allocations.entries.find(numberOf(base));
    if (found != allocations.entries.end()) {
      releases = std::move(found->second.releases);
      allocations.entries.erase(found);
    }
  }
  for (const auto& release : releases) release(base);
  static_cast<void>(ncclMemFree(base));
}

}  // namespace

std::shared_ptr<void> allocateForCollectives(size_t bytes) {
  Allocations& allocations = Allocations::instance();
  const bool unregistered = [&] {
    const std::lock_guard lock(allocations.mutex);
    return allocations.unregistered;
  }();
  void* memory = nullptr;
  if (!unregistered && ncclMemAlloc(&memory, bytes) == ncclSuccess && memory != nullptr) {
    const std::lock_guard lock(allocations.mutex);
    allocations.entries[numberOf(memory)] = {bytes, {}};
    return {memory, freeCollectiveMemory};
  }
  static_cast<void>(cudaGetLastError());  // NCCL's; the next call reports it if it still holds
  ONEHOUR_CUDA(cudaMalloc(&memory, bytes));
  return {memory, [](void* freed) { cudaFree(freed); }};
}

std::optional<CollectiveMemory> collectiveMemoryAt(const void* address) {
  Allocations& allocations = Allocations::instance();
  const std::lock_guard lock(allocations.mutex);
  if (allocations.unregistered) return std::nullopt;
  auto above = allocations.entries.upper_bound(numberOf(address));
  if (above == allocations.entries.begin()) return std::nullopt;
  const auto& [base, entry] = *std::prev(above);
  if (numberOf(address) - base >= entry.bytes) return std::nullopt;
  return CollectiveMemory{reinterpret_cast<void*>(base), entry.bytes};
}

void leaveMemoryUnregistered() {
  Allocations& allocations = Allocations::instance();
  const std::lock_guard lock(allocations.mutex);
  allocations.unregistered = true;
}

void beforeFree(void* base, std::function<void(void*)> release) {
  Allocations& allocations = Allocations::instance();
  const std::lock_guard lock(allocations.mutex);
  const auto found = allocations.entries.find(numberOf(base));
  if (found != allocations.entries.end()) found->second.releases.push_back(std::move(release));
}

}  // namespace onehour::cuda
