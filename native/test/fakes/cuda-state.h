// What the files of the fake of CUDA's runtime share.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cuda-runtime.h"

namespace onehour::fake {

// Guarded by its mutex, as what streams and events hold is.
struct Device {
  std::mutex mutex;
  std::condition_variable changed;  // an event has come, or the device broke
  cudaError_t status = cudaSuccess;
  std::string reason;
  Machine machine;
  int opened = 0;
  int waits = 0;
  int launches = 0;
  std::optional<float> elapsed;  // milliseconds between any two events; their own without it
  std::vector<int> replayed;
  std::map<void*, size_t> allocations;  // bytes by address
};

// Never destroyed: streams may outlive main.
inline Device& device() {
  static auto* instance = new Device;
  return *instance;
}

inline std::unique_lock<std::mutex> locked() { return std::unique_lock(device().mutex); }

inline cudaError_t status() {
  const auto lock = locked();
  return device().status;
}

inline thread_local int ordinal = 0;

inline const Gpu& gpu(int index = ordinal) {
  return device().machine.gpus.at(static_cast<size_t>(index));
}

}  // namespace onehour::fake
