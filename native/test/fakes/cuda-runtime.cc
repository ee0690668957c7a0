// The fake of CUDA's runtime: memory is the host's, a stream is a thread with a queue, a graph the
// list of what was queued while it was recorded, and the device can break. Built with CUDA's
// headers or with the emulator's.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <future>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "../../core/worker.h"
#include "cuda-state.h"

using onehour::fake::device;
using onehour::fake::gpu;
using onehour::fake::locked;
using onehour::fake::status;

namespace {

struct Node {
  std::function<void()> work;
  std::optional<int> priority;  // of a kernel: its stream's
};

// A recording: what the streams that take part in it are given.
struct Capture {
  std::vector<Node> nodes;
  std::vector<cudaStream_t> streams;  // first the one that began it
};

}  // namespace

struct CUstream_st {
  int priority;
  std::shared_ptr<Capture> capture;
  onehour::Worker worker{"fake-stream"};
};

struct CUevent_st {
  struct Coming {
    uint64_t number = 0;
    onehour::Worker::Clock::time_point time;
  };
  std::shared_ptr<Coming> come = std::make_shared<Coming>();
  uint64_t recorded = 0;
  bool hasTime = true;
  std::weak_ptr<Capture> capture;  // that recorded it last
};

struct CUgraph_st {
  std::vector<Node> nodes;
};

struct CUgraphExec_st {
  std::shared_ptr<const std::vector<Node>> nodes;
  bool nodePriorities;  // or the priority of the stream that the graph is launched on
};

namespace {

void perform(const std::function<void()>& work) {
  if (status() != cudaSuccess) return;
  try {
    work();
  } catch (const std::exception& error) {
    onehour::fake::breakDevice(cudaErrorLaunchFailure, error.what());
  }
}

// The lock is held.
cudaError_t enqueue(cudaStream_t stream, Node node) {
  if (device().status != cudaSuccess) return device().status;
  if (stream->capture) {
    stream->capture->nodes.push_back(std::move(node));
  } else {
    stream->worker.post([work = std::move(node.work)] { perform(work); });
  }
  return cudaSuccess;
}

cudaError_t queue(cudaStream_t stream, std::function<void()> work) {
  const auto lock = locked();
  return enqueue(stream, {std::move(work), {}});
}

// What nothing wrote reads as NaN.
void* reserve(size_t bytes) {
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (memory != nullptr) std::memset(memory, 0xff, bytes);
  return memory;
}

}  // namespace

namespace onehour::fake {

cudaError_t post(cudaStream_t stream, std::function<void()> work) {
  const auto lock = locked();
  ++device().launches;
  return enqueue(stream, {std::move(work), stream->priority});
}

void takeMilliseconds(float elapsed) {
  const auto lock = locked();
  device().elapsed = elapsed;
}

int waits() {
  const auto lock = locked();
  return device().waits;
}

int launches() {
  const auto lock = locked();
  return device().launches;
}

std::vector<int> replayedPriorities() {
  const auto lock = locked();
  return device().replayed;
}

}  // namespace onehour::fake

// ------------------------------------------------------------------------------------------ memory
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const char* text = std::getenv("ONEHOUR_EMULATED_FREE");
  const auto lock = locked();
  *free = text == nullptr ? gpu().freeBytes : std::strtoull(text, nullptr, 10);
  *total = onehour::fake::memoryBytes;
  return device().status;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const auto lock = locked();
  if (device().status != cudaSuccess) return device().status;
  *memory = reserve(bytes);
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  device().allocations[*memory] = bytes;
  return cudaSuccess;
}

// Of nothing: opens the GPU.
cudaError_t cudaFree(void* memory) {
  const auto lock = locked();
  if (memory == nullptr) {
    ++device().opened;
    return gpu().opening;
  }
  device().allocations.erase(memory);
  std::free(memory);
  return device().status;
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  const cudaError_t now = status();
  if (now != cudaSuccess) return now;
  *memory = reserve(bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return status();
}

cudaError_t cudaHostGetDevicePointer(void** address, void* host, unsigned) {
  *address = host;
  return status();
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  const auto lock = locked();
  *attributes = {};
  attributes->type = cudaMemoryTypeUnregistered;
  const auto above = device().allocations.upper_bound(const_cast<void*>(address));
  if (above == device().allocations.begin()) return device().status;
  const auto& [base, bytes] = *std::prev(above);
  if (static_cast<const uint8_t*>(address) < static_cast<uint8_t*>(base) + bytes) {
    attributes->type = cudaMemoryTypeDevice;
  }
  return device().status;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return status();
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  return queue(stream, [=] { std::memcpy(to, from, bytes); });
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  std::memset(memory, value, bytes);
  return status();
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  return onehour::fake::post(stream, [=] { std::memset(memory, value, bytes); });
}

// ----------------------------------------------------------------------------- streams and events
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int priority) {
  const cudaError_t now = status();
  if (now == cudaSuccess) *stream = new CUstream_st{priority, {}};
  return now;
}

// What is queued ends first: it must not run later, on a device that was mended and in memory that
// was freed.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  stream->worker.stop();
  while (!stream->worker.join(onehour::Worker::Clock::now() + std::chrono::hours(1))) {
  }
  delete stream;
  return status();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream != nullptr && stream != cudaStreamLegacy && status() == cudaSuccess) {
    std::promise<void> end;
    stream->worker.post([&end] { end.set_value(); });
    end.get_future().wait();
  }
  return status();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const cudaError_t now = status();
  if (now != cudaSuccess) return now;
  *event = new CUevent_st;
  (*event)->hasTime = (flags & cudaEventDisableTiming) == 0;
  return now;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return status();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const auto lock = locked();
  event->capture = stream->capture;
  if (stream->capture) return device().status;
  return enqueue(stream, {[come = event->come, number = ++event->recorded] {
                            const auto guard = locked();
                            *come = {number, onehour::Worker::Clock::now()};
                            device().changed.notify_all();
                          },
                          {}});
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const auto lock = locked();
  if (device().status != cudaSuccess) return device().status;
  return event->come->number >= event->recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  auto lock = locked();
  device().changed.wait(lock, [event] {
    return event->come->number >= event->recorded || device().status != cudaSuccess;
  });
  return device().status;
}

// A stream that waits for an event of a recording takes part in it from there on.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const auto lock = locked();
  ++device().waits;
  const std::shared_ptr<Capture> capture = event->capture.lock();
  if (capture != stream->capture) {
    if (!capture) return cudaErrorInvalidValue;  // a recording cannot wait for what is outside it
    stream->capture = capture;
    capture->streams.push_back(stream);
  }
  if (capture) return device().status;
  return enqueue(stream, {[come = event->come, number = event->recorded] {
                            auto guard = locked();
                            device().changed.wait(guard, [&] {
                              return come->number >= number || device().status != cudaSuccess;
                            });
                          },
                          {}});
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const auto lock = locked();
  for (const cudaEvent_t event : {from, to}) {
    if (!event->hasTime || event->recorded == 0) return cudaErrorInvalidResourceHandle;
    if (event->come->number < event->recorded) return cudaErrorNotReady;
  }
  const std::chrono::duration<float, std::milli> passed = to->come->time - from->come->time;
  *milliseconds = device().elapsed.value_or(passed.count());
  return device().status;
}

// ------------------------------------------------------------------------------------------ graphs
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const auto lock = locked();
  if (stream->capture) return cudaErrorInvalidValue;
  stream->capture = std::make_shared<Capture>();
  stream->capture->streams = {stream};
  return device().status;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const auto lock = locked();
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture || capture->streams.front() != stream) return cudaErrorInvalidValue;
  for (const cudaStream_t part : capture->streams) part->capture.reset();
  *graph = new CUgraph_st{std::move(capture->nodes)};
  return device().status;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return status();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags) {
  *executable = new CUgraphExec_st{std::make_shared<const std::vector<Node>>(graph->nodes),
                                   flags == cudaGraphInstantiateFlagUseNodePriority};
  return status();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return status();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return queue(stream, [nodes = executable->nodes, own = executable->nodePriorities,
                        priority = stream->priority] {
    std::vector<int> priorities;
    for (const Node& node : *nodes) {
      node.work();
      if (node.priority) priorities.push_back(own ? *node.priority : priority);
    }
    const auto lock = locked();
    device().replayed = std::move(priorities);
  });
}
