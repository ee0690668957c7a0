// A stand-in for CUDA's runtime in host memory, beside that for NCCL: streams are threads, and the
// device can break. Built with CUDA's headers or with the emulator's.
#include "runtime-stub.h"

#include <atomic>
#include <chrono>
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

#include "../../core/worker.h"

namespace {

constexpr int kOrdinal = 0;
constexpr size_t kMemoryBytes = size_t{1} << 30;

std::atomic<size_t> freeBytes{kMemoryBytes};

// What every call returns.
std::atomic<cudaError_t> status{cudaSuccess};

std::atomic<int> waiting{0};

bool isBroken() { return status != cudaSuccess; }

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
  of(stream).worker.post([job = std::move(job)] {
    if (!isBroken()) job();
  });
}

void leaveFree(size_t bytes) { freeBytes = bytes; }

int waits() { return waiting; }

void breakDevice(cudaError_t how) { status = how; }
void mendDevice() { status = cudaSuccess; }

}  // namespace onehour::stub

using onehour::stub::post;

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return status;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return status;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 0;
  return status;
}
cudaError_t cudaSetDevice(int) { return status; }
cudaError_t cudaGetDevice(int* ordinal) {
  *ordinal = kOrdinal;
  return status;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  properties->major = 9;
  properties->totalGlobalMem = kMemoryBytes;
  return status;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = freeBytes;
  *total = kMemoryBytes;
  return status;
}
cudaError_t cudaGetLastError() { return status; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorStub"; }
const char* cudaGetErrorString(cudaError_t) { return "told by the stub"; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  if (isBroken()) return status;
  *memory = std::malloc(bytes);
  const std::lock_guard lock(allocationsLock());
  allocations()[*memory] = bytes;
  return status;
}

cudaError_t cudaFree(void* memory) {
  {
    const std::lock_guard lock(allocationsLock());
    allocations().erase(memory);
  }
  std::free(memory);
  return status;
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  if (isBroken()) return status;
  *memory = std::malloc(bytes);
  return status;
}

cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return status;
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return status;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  const std::lock_guard lock(allocationsLock());
  *attributes = {};
  attributes->type = cudaMemoryTypeUnregistered;
  const auto above = allocations().upper_bound(const_cast<void*>(address));
  if (above == allocations().begin()) return status;
  const auto& [base, bytes] = *std::prev(above);
  if (static_cast<const uint8_t*>(address) < static_cast<uint8_t*>(base) + bytes) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->device = kOrdinal;
  }
  return status;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = *greatest = 0;
  return status;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  if (isBroken()) return status;
  *stream = reinterpret_cast<cudaStream_t>(new StubStream);
  return status;
}

// What is queued must not run later, on a device that was mended and in memory that was freed.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  onehour::Worker& worker = of(stream).worker;
  worker.stop();
  while (!worker.join(onehour::Worker::Clock::now() + std::chrono::hours(1))) {
  }
  delete &of(stream);
  return status;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == nullptr || stream == cudaStreamLegacy || isBroken()) return status;
  std::promise<void> end;
  of(stream).worker.post([&end] { end.set_value(); });
  end.get_future().wait();
  return status;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (isBroken()) return status;
  *event = reinterpret_cast<cudaEvent_t>(new StubEvent);
  return status;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete &of(event);
  return status;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  post(stream, [state = of(event).state, number = ++of(event).recorded] { state->come = number; });
  return status;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (isBroken()) return status;
  return of(event).state->come >= of(event).recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  ++waiting;
  post(stream, [state = of(event).state, number = of(event).recorded.load()] {
    while (state->come < number && !isBroken()) std::this_thread::yield();
  });
  return status;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  while (cudaEventQuery(event) == cudaErrorNotReady) std::this_thread::yield();
  return status;
}

// All work takes as long.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;
  return status;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  post(stream, [=] { std::memcpy(to, from, bytes); });
  return status;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return status;
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  post(stream, [=] { std::memset(memory, value, bytes); });
  return status;
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  std::memset(memory, value, bytes);
  return status;
}

// Nothing can be recorded.
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  return cudaErrorInvalidValue;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*) { return cudaErrorInvalidValue; }
cudaError_t cudaGraphDestroy(cudaGraph_t) { return status; }
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long) {
  return cudaErrorInvalidValue;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return status; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { return cudaErrorInvalidValue; }
