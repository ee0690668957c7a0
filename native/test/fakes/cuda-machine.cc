// The GPUs of the fake of CUDA's runtime, and how they break.
#include <cstdio>
#include <utility>

#include "cuda-state.h"

namespace onehour::fake {

void start(Machine machine) {
  const auto lock = locked();
  device().machine = std::move(machine);
  device().opened = 0;
  device().status = cudaSuccess;
}

int opened() {
  const auto lock = locked();
  return device().opened;
}

void breakDevice(cudaError_t how, const std::string& reason) {
  const auto lock = locked();
  device().status = how;
  device().reason = reason;
  device().changed.notify_all();
}

}  // namespace onehour::fake

using onehour::fake::device;
using onehour::fake::gpu;
using onehour::fake::locked;
using onehour::fake::ordinal;
using onehour::fake::status;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define NAMED(name) \
  case name:        \
    return #name;
    NAMED(cudaErrorMemoryAllocation)
    NAMED(cudaErrorDevicesUnavailable)
    NAMED(cudaErrorIllegalAddress)
    NAMED(cudaErrorLaunchFailure)
#undef NAMED
    default:
      return "cudaError";
  }
}

// Stays as long as the thread, whatever breaks next.
const char* cudaGetErrorString(cudaError_t) {
  thread_local std::string reason;
  const auto lock = locked();
  reason = device().status == cudaSuccess ? "a failure of the fake" : device().reason;
  return reason.c_str();
}

cudaError_t cudaGetLastError() { return status(); }

cudaError_t cudaDriverGetVersion(int* version) {
  const auto lock = locked();
  *version = device().machine.driver;
  return device().status;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const auto lock = locked();
  *count = static_cast<int>(device().machine.gpus.size());
  return device().machine.counting;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  const auto lock = locked();
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated GPU");
  properties->major = gpu(index).major;
  properties->minor = gpu(index).minor;
  properties->totalGlobalMem = onehour::fake::memoryBytes;
  // Fewer than a GPU has, so that loops over the grid go round.
  properties->multiProcessorCount = 3;
  properties->pciBusID = 0x1b + index;
  return device().status;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int index) {
  const auto lock = locked();
  *value = gpu(index).mode;
  return device().status;
}

cudaError_t cudaSetDevice(int index) {
  ordinal = index;
  return status();
}

cudaError_t cudaGetDevice(int* index) {
  *index = ordinal;
  return status();
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -1;
  return status();
}
