// The emulated runtime: one device, streams that run everything at once, captures as lists.
#include <sys/mman.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <vector>

#include "cuda_runtime_api.h"

struct CUstream_st {
  int priority;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point time;
};
struct CUgraph_st {
  struct Node {
    std::function<void()> work;
    std::optional<int> priority;  // of a kernel: its stream's
  };
  std::vector<Node> nodes;
};
struct CUgraphExec_st {
  std::vector<CUgraph_st::Node> nodes;
  bool nodePriorities;  // or the priority of the stream that the graph is launched on
};

namespace onehour::cuda {

// What `dynamicShared` of device.cuh names.
thread_local __align__(16) unsigned char dynamicSharedMemory[228 * 1024];

}  // namespace onehour::cuda

namespace onehour::emulator {
namespace {

// Fewer than a GPU has, so that loops over the grid go round.
constexpr int multiprocessors = 3;
constexpr size_t memoryBytes = size_t{8} << 30;

// What other processes leave of it: ONEHOUR_EMULATED_FREE in bytes, or all.
size_t freeBytes() {
  const char* text = std::getenv("ONEHOUR_EMULATED_FREE");
  return text == nullptr ? memoryBytes : std::strtoull(text, nullptr, 10);
}

// A capture belongs to the thread that began it and takes in all streams that fork from its own.
thread_local CUgraph_st* capturing = nullptr;

// The kernels that were loaded, by address.
class LoadedKernels {
 public:
  void add(const void* kernel) {
    const std::lock_guard lock(mutex_);
    kernels_.insert(kernel);
  }
  bool holds(const void* kernel) {
    const std::lock_guard lock(mutex_);
    return kernels_.contains(kernel);
  }

 private:
  std::mutex mutex_;
  std::set<const void*> kernels_;
};
LoadedKernels& loadedKernels() {
  static auto* kernels = new LoadedKernels;
  return *kernels;
}

// What nothing wrote reads as NaN.
constexpr int poison = 0xff;

void* reserve(size_t bytes) {
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (memory != nullptr) std::memset(memory, poison, bytes);
  return memory;
}

// What `replayedPriorities` tells.
std::mutex replayedLock;
std::vector<int> replayed;

cudaError_t enqueue(std::function<void()> work, std::optional<int> priority = {}) {
  if (capturing != nullptr) {
    capturing->nodes.push_back({std::move(work), priority});
  } else {
    work();
  }
  return cudaSuccess;
}

void runGrid(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  static thread_local uint32_t launches = 0;
  const uint32_t seed = ++launches;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  if (threads == 0 || threads > 1024 || blocks == 0 || gridDim.y > 65535 || gridDim.z > 65535 ||
      config.dynamicSmemBytes > sizeof(onehour::cuda::dynamicSharedMemory)) {
    throw std::invalid_argument("a launch of " + std::to_string(blocks) + " blocks of " +
                                std::to_string(threads) + " threads");
  }
  // From the last block to the first, every other time.
  for (unsigned i = 0; i < blocks; ++i) {
    const unsigned block = seed % 2 == 0 ? i : blocks - 1 - i;
    std::memset(onehour::cuda::dynamicSharedMemory, poison, config.dynamicSmemBytes);
    runBlock(static_cast<int>(threads), seed + block, [&](int index) {
      const auto at = static_cast<unsigned>(index);
      threadIdx = {at % blockDim.x, at / blockDim.x % blockDim.y, at / blockDim.x / blockDim.y};
      blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
      thread();
    });
  }
}

}  // namespace

cudaError_t perform(cudaStream_t stream, std::function<void()> work) {
  return enqueue(std::move(work), stream == nullptr ? 0 : stream->priority);
}

std::vector<int> replayedPriorities() {
  const std::lock_guard lock(replayedLock);
  return replayed;
}

cudaError_t launch(const void* kernel, const cudaLaunchConfig_t& config,
                   std::function<void()> thread) {
  // A GPU would load it here, in the middle of a step or a recording.
  if (!loadedKernels().holds(kernel)) throw std::logic_error("a launch of a kernel not loaded");
  return perform(config.stream, [config, thread = std::move(thread)] { runGrid(config, thread); });
}

}  // namespace onehour::emulator

using onehour::emulator::capturing;
using onehour::emulator::enqueue;

const char* cudaGetErrorName(cudaError_t status) {
  return status == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaError";
}
const char* cudaGetErrorString(cudaError_t) { return "an emulated failure"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = cudaComputeModeDefault;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated GPU");
  properties->totalGlobalMem = onehour::emulator::memoryBytes;
  properties->sharedMemPerBlockOptin = sizeof(onehour::cuda::dynamicSharedMemory);
  properties->major = 9;
  properties->multiProcessorCount = onehour::emulator::multiprocessors;
  properties->l2CacheSize = 1 << 20;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = onehour::emulator::freeBytes();
  *total = onehour::emulator::memoryBytes;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -1;
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void* kernel) {
  onehour::emulator::loadedKernels().add(kernel);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = onehour::emulator::reserve(bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return cudaMalloc(memory, bytes);
}
cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int priority) {
  *stream = new CUstream_st{priority};
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return cudaEventCreate(event);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  return enqueue([event] { event->time = std::chrono::steady_clock::now(); });
}
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  return enqueue([=] { std::memcpy(to, from, bytes); });
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  return enqueue([=] { std::memset(memory, value, bytes); });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  if (capturing != nullptr) return cudaErrorInvalidValue;
  capturing = new CUgraph_st;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  if (capturing == nullptr) return cudaErrorInvalidValue;
  *graph = std::exchange(capturing, nullptr);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags) {
  *executable = new CUgraphExec_st{graph->nodes, flags == cudaGraphInstantiateFlagUseNodePriority};
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  std::vector<int> priorities;
  for (const auto& [work, priority] : executable->nodes) {
    work();
    if (priority) priorities.push_back(executable->nodePriorities ? *priority : stream->priority);
  }
  const std::lock_guard lock(onehour::emulator::replayedLock);
  onehour::emulator::replayed = std::move(priorities);
  return cudaSuccess;
}
