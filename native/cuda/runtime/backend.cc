// The CUDA backend: a stream is a cudaStream_t, an event a cudaEvent_t, and a submission's end is
// noticed by the watch.
#include "backend.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "../nccl/collective-memory.h"
#include "../nccl/communicator.h"
#include "../ops/kernels.h"
#include "cuda.h"
#include "devices.h"
#include "watch.h"

namespace onehour::cuda {
namespace {

// Left free for what the driver and the libraries allocate themselves (kernels, NCCL's buffers).
constexpr size_t reserveBytes = size_t{512} << 20;

class CudaEvent final : public Event {
 public:
  CudaEvent() { ONEHOUR_CUDA(cudaEventCreateWithFlags(handle_.out(), cudaEventDisableTiming)); }
  cudaEvent_t handle() const { return handle_.get(); }

 private:
  EventHandle handle_;
};

class CudaMark final : public Mark {
 public:
  CudaMark() { ONEHOUR_CUDA(cudaEventCreate(handle_.out())); }
  cudaEvent_t handle() const { return handle_.get(); }

 private:
  EventHandle handle_;
};

// A recorded submission. Its kernels keep the priorities of the streams that they were recorded on:
// without the flag all of them had that of the stream that the graph is launched on.
class GraphKernel final : public Kernel {
 public:
  explicit GraphKernel(cudaGraph_t graph) {
    ONEHOUR_CUDA(
        cudaGraphInstantiate(executable_.out(), graph, cudaGraphInstantiateFlagUseNodePriority));
  }
  void run(Stream& stream) override {
    ONEHOUR_CUDA(cudaGraphLaunch(executable_.get(), handleOf(stream)));
  }

 private:
  GraphExecutable executable_;
};

// Mapped host memory that kernels note faults in.
class FaultMemory {
 public:
  FaultMemory() {
    void* memory = nullptr;
    ONEHOUR_CUDA(cudaHostAlloc(&memory, sizeof(Fault), cudaHostAllocMapped));
    host_ = static_cast<Fault*>(memory);
    *host_ = {};
    ONEHOUR_CUDA(cudaHostGetDevicePointer(&memory, host_, 0));
    device_ = static_cast<Fault*>(memory);
  }
  ~FaultMemory() { cudaFreeHost(host_); }
  FaultMemory(const FaultMemory&) = delete;
  FaultMemory& operator=(const FaultMemory&) = delete;

  const Fault* host() const { return host_; }
  Fault* device() const { return device_; }

 private:
  Fault* host_ = nullptr;
  Fault* device_ = nullptr;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(const cudaDeviceProp& properties, const BackendOptions& options)
      : watch_(options.ordinal, faults_.host()) {
    traits_ = {options.ordinal, properties.multiProcessorCount, options.threads};
    properties_.name = properties.name;
    properties_.kind = "cuda";
    properties_.threads = 1;
    properties_.memoryBytes = properties.totalGlobalMem;
    properties_.bf16 = true;
    properties_.channelMultiple = 4;
    properties_.driver = driverVersion();
  }

  DeviceProperties properties() const override { return properties_; }
  const KernelTable& kernels() const override { return kernelRegistry().kernels(); }
  const DeviceTraits& traits() const { return traits_; }
  Fault* fault() const { return faults_.device(); }

  std::shared_ptr<void> allocate(size_t bytes, MemoryKind kind) override {
    use();
    bytes = std::max<size_t>(bytes, 64);
    try {
      return reserve(bytes, kind);
    } catch (const Error& error) {
      if (error.code != "ERR_MEMORY") throw;
      throw outOfMemory(error.library, bytes, availableBytes());
    }
  }

  std::optional<size_t> availableBytes() const override {
    use();
    size_t free = 0;
    size_t total = 0;
    ONEHOUR_CUDA(cudaMemGetInfo(&free, &total));
    return free - std::min(free, reserveBytes);
  }

  // Collectives are short and many wait for them, so their blocks go first.
  std::unique_ptr<Stream> createStream(const std::string& name) override {
    use();
    int least = 0;
    int greatest = 0;
    ONEHOUR_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    return std::make_unique<CudaStream>(name == "compute" ? least : greatest);
  }

  std::unique_ptr<Event> createEvent() override {
    use();
    return std::make_unique<CudaEvent>();
  }

  void launch(Stream& stream, Kernel& kernel) override {
    use();
    kernel.run(stream);
  }

  void signal(Stream& stream, Event& event, uint64_t) override {
    ONEHOUR_CUDA(cudaEventRecord(eventOf(event), handleOf(stream)));
  }

  void wait(Stream& stream, Event& event, uint64_t) override {
    ONEHOUR_CUDA(cudaStreamWaitEvent(handleOf(stream), eventOf(event), 0));
  }

  void copy(Stream& stream, void* to, const void* from, size_t bytes) override {
    use();
    ONEHOUR_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, handleOf(stream)));
  }

  void callback(Stream& stream, std::function<void(std::exception_ptr)> done) override {
    use();
    watch_.follow(handleOf(stream), std::move(done));
  }

  void synchronize(Stream& stream) override {
    use();
    watch_.wait(handleOf(stream));
  }

  std::unique_ptr<Mark> createMark() override {
    use();
    return std::make_unique<CudaMark>();
  }

  void mark(Stream& stream, Mark& mark) override {
    ONEHOUR_CUDA(cudaEventRecord(static_cast<CudaMark&>(mark).handle(), handleOf(stream)));
  }

  double milliseconds(const Mark& from, const Mark& to) const override {
    float result = 0;
    ONEHOUR_CUDA(cudaEventElapsedTime(&result, static_cast<const CudaMark&>(from).handle(),
                                      static_cast<const CudaMark&>(to).handle()));
    return result;
  }

  std::unique_ptr<Kernel> record(Stream& primary, const std::function<void()>& enqueue) override {
    use();
    const cudaStream_t stream = handleOf(primary);
    GraphHandle graph;
    ONEHOUR_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
      enqueue();
    } catch (...) {
      cudaStreamEndCapture(stream, graph.out());
      cudaGetLastError();  // clears the broken capture's own error, reported already
      throw;
    }
    ONEHOUR_CUDA(cudaStreamEndCapture(stream, graph.out()));
    return std::make_unique<GraphKernel>(graph.get());
  }

  std::unique_ptr<Communicator> createCommunicator(int rank, int size, double timeoutSeconds,
                                                   bool acrossHosts,
                                                   const std::string& name) override {
    use();
    return createNcclCommunicator(traits_.ordinal, rank, size, timeoutSeconds, acrossHosts, watch_,
                                  name);
  }

  bool ordersCollectives() const override { return ncclOrdersCollectives(); }

  bool hostMemoryIsDeviceMemory() const override { return false; }

 private:
  static std::shared_ptr<void> reserve(size_t bytes, MemoryKind kind) {
    void* address = nullptr;
    if (kind == MemoryKind::host) {
      ONEHOUR_CUDA(cudaHostAlloc(&address, bytes, cudaHostAllocDefault));
      std::memset(address, 0, bytes);
      return {address, [](void* freed) { cudaFreeHost(freed); }};
    }
    std::shared_ptr<void> memory;
    if (kind == MemoryKind::collective) {
      memory = allocateForCollectives(bytes);
    } else {
      ONEHOUR_CUDA(cudaMalloc(&address, bytes));
      memory = {address, [](void* freed) { cudaFree(freed); }};
    }
    // Cleared on the default stream, which no stream of a program waits for.
    ONEHOUR_CUDA(cudaMemset(memory.get(), 0, bytes));
    ONEHOUR_CUDA(cudaStreamSynchronize(nullptr));
    return memory;
  }

  static cudaEvent_t eventOf(Event& event) { return static_cast<CudaEvent&>(event).handle(); }

  // The runtime keeps the current device by thread.
  void use() const {
    thread_local int current = -1;
    if (current == traits_.ordinal) return;
    ONEHOUR_CUDA(cudaSetDevice(traits_.ordinal));
    current = traits_.ordinal;
  }

  DeviceProperties properties_;
  DeviceTraits traits_;
  FaultMemory faults_;
  Watch watch_;
};

// Sets what this backend relies on, unless the user set it otherwise.
void chooseSettings() {
  // Several communicators on one GPU deadlock when their collectives start in different orders on
  // different ranks. With this NCCL has them start in the order of the calls: one thread submits
  // the instructions of a program in the order of its text, which is the same on all ranks, and
  // each call returns when its work is on the stream. NCCL before 2.26 knows no such setting:
  // there, and where the user turned it off, the executor keeps the order (ordersCollectives).
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
  // All connections are made while a communicator opens: later, a graph may be recording.
  setenv("NCCL_RUNTIME_CONNECT", "0", 0);
  // The same interface as Gloo's, by its exact name.
  if (const char* interface = std::getenv("ONEHOUR_INTERFACE"); interface && *interface != '\0') {
    setenv("NCCL_SOCKET_IFNAME", (std::string("=") + interface).c_str(), 0);
  }
}

}  // namespace

const DeviceTraits& traitsOf(const PrepareContext& context) {
  return static_cast<const CudaBackend&>(context.backend).traits();
}

Fault* faultOf(const PrepareContext& context) {
  return static_cast<const CudaBackend&>(context.backend).fault();
}

std::shared_ptr<Backend> createCudaBackend(const BackendOptions& options) {
  const int ordinal = options.ordinal;
  chooseSettings();
  const cudaDeviceProp properties = openGpu(ordinal);
  try {
    return std::make_shared<CudaBackend>(properties, options);
  } catch (const Error& error) {
    throw Error(error.code, error.library, describe(properties, ordinal) + ": " + error.what());
  }
}

}  // namespace onehour::cuda
