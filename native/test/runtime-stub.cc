// A stand-in for CUDA's runtime in host memory, beside that for NCCL: streams are threads.
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "../core/worker.h"
#include "nccl-stub.h"

namespace {

constexpr int kOrdinal = 0;

std::mutex& allocationsLock() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

// Bytes of the device's memory by address.
std::map<void*, size_t>& allocations() {
  static auto* map = new std::map<void*, size_t>;
  return *map;
}

struct StubStream {
  onehour::Worker worker{"stub-stream"};
};

struct StubEvent {
  struct State {
    std::atomic<uint64_t> come{0};
  };
  std::shared_ptr<State> state = std::make_shared<State>();
  std::atomic<uint64_t> recorded{0};
};

StubStream& of(cudaStream_t stream) { return *reinterpret_cast<StubStream*>(stream); }
StubEvent& of(cudaEvent_t event) { return *reinterpret_cast<StubEvent*>(event); }

}  // namespace

namespace onehour::stub {

void post(cudaStream_t stream, std::function<void()> job) {
  of(stream).worker.post(std::move(job));
}

}  // namespace onehour::stub

extern "C" {

cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDevice(int* ordinal) {
  *ordinal = kOrdinal;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorStub"; }
const char* cudaGetErrorString(cudaError_t) { return "told by the stub"; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  const std::lock_guard lock(allocationsLock());
  allocations()[*memory] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  {
    const std::lock_guard lock(allocationsLock());
    allocations().erase(memory);
  }
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  *memory = std::malloc(bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  const std::lock_guard lock(allocationsLock());
  *attributes = {};
  attributes->type = cudaMemoryTypeUnregistered;
  const auto above = allocations().upper_bound(const_cast<void*>(address));
  if (above == allocations().begin()) return cudaSuccess;
  const auto& [base, bytes] = *std::prev(above);
  if (static_cast<const uint8_t*>(address) < static_cast<uint8_t*>(base) + bytes) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->device = kOrdinal;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = *greatest = 0;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = reinterpret_cast<cudaStream_t>(new StubStream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete &of(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == cudaStreamLegacy) return cudaSuccess;
  std::promise<void> end;
  of(stream).worker.post([&end] { end.set_value(); });
  end.get_future().wait();
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(new StubEvent);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete &of(event);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  of(stream).worker.post(
      [state = of(event).state, number = ++of(event).recorded] { state->come = number; });
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return of(event).state->come >= of(event).recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  while (cudaEventQuery(event) != cudaSuccess) std::this_thread::yield();
  return cudaSuccess;
}

// All work takes as long.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  of(stream).worker.post([=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  of(stream).worker.post([=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}

}  // extern "C"
