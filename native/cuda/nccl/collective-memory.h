// Device memory that NCCL can register whole, and what must happen before it is freed.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

namespace onehour::cuda {

// Memory that NCCL can register whole, or plain memory where NCCL has none to give or nothing is
// registered.
std::shared_ptr<void> allocateForCollectives(size_t bytes);

// An allocation of NCCL's.
struct CollectiveMemory {
  void* base;
  size_t bytes;
};

// The allocation that an address lies in, if NCCL made it.
std::optional<CollectiveMemory> collectiveMemoryAt(const void* address);

// From now on this process registers no memory: allocateForCollectives gives plain memory, and
// collectiveMemoryAt knows none.
void leaveMemoryUnregistered();

// Calls `release` with the allocation's base before the memory is freed, unless it was freed
// already.
void beforeFree(void* base, std::function<void(void*)> release);

}  // namespace onehour::cuda
