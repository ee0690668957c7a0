// Tables that kernels read, in the device's memory.
#pragma once

#include <memory>
#include <vector>

#include "../../core/backend.h"

namespace onehour::cuda {

template <typename T>
std::shared_ptr<void> upload(const std::vector<T>& table, Backend& backend) {
  const size_t bytes = table.size() * sizeof(T);
  std::shared_ptr<void> memory = backend.allocate(bytes, MemoryKind::device);
  const auto stream = backend.createStream("prepare");
  backend.copy(*stream, memory.get(), table.data(), bytes);
  backend.synchronize(*stream);
  return memory;
}

}  // namespace onehour::cuda
