// Device memory that NCCL can register whole (see allocateForCollectives), and what must happen
// before it is freed.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>

namespace onehour::cuda {

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
