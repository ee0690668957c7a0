// Checked calls of CUDA's runtime, whose errors name the call, and handles that free themselves.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "../../core/backend.h"
#include "../../core/error.h"

namespace onehour::cuda {

// Whether this process can no longer use the device after the error: every later call fails alike.
bool isSticky(cudaError_t status);

// Throws an Error that names the call, CUDA's own name of the failure and what to try.
[[noreturn]] void throwCudaError(cudaError_t status, const char* call);

inline void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throwCudaError(status, call);
}

// Checks a call of the runtime.
#define ONEHOUR_CUDA(call) ::onehour::cuda::check((call), #call)

// The device of this thread.
inline int currentDevice() {
  int ordinal = 0;
  ONEHOUR_CUDA(cudaGetDevice(&ordinal));
  return ordinal;
}

// A handle of a C library that `destroy` frees.
template <typename Handle, auto destroy>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  ~Owned() { reset(); }
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, Handle{})) {}
  Owned& operator=(Owned&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, Handle{});
    }
    return *this;
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

  Handle get() const { return handle_; }
  // Where a creating function writes the handle.
  Handle* out() {
    reset();
    return &handle_;
  }
  explicit operator bool() const { return handle_ != Handle{}; }

 private:
  void reset() noexcept {
    if (handle_ != Handle{}) static_cast<void>(destroy(std::exchange(handle_, Handle{})));
  }
  Handle handle_{};
};

using StreamHandle = Owned<cudaStream_t, cudaStreamDestroy>;
using EventHandle = Owned<cudaEvent_t, cudaEventDestroy>;
using GraphHandle = Owned<cudaGraph_t, cudaGraphDestroy>;
using GraphExecutable = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

// A stream of the device.
class CudaStream final : public Stream {
 public:
  explicit CudaStream(int priority) {
    ONEHOUR_CUDA(cudaStreamCreateWithPriority(handle_.out(), cudaStreamNonBlocking, priority));
  }
  cudaStream_t handle() const { return handle_.get(); }

 private:
  StreamHandle handle_;
};

inline cudaStream_t handleOf(Stream& stream) { return static_cast<CudaStream&>(stream).handle(); }

// What kernels choose their grids by.
struct DeviceTraits {
  int ordinal = 0;
  int multiprocessors = 0;
  int threads = 1;  // of the host, for what takes long while programs are prepared
};

// The grid for work that its blocks share in rounds: so many that each multiprocessor has some left
// when others are done.
inline dim3 gridFor(int64_t blocks, const DeviceTraits& traits) {
  return dim3(static_cast<unsigned>(std::min(blocks, int64_t{32} * traits.multiprocessors)));
}

// Where a kernel notes input that it cannot work with (mapped host memory, 0 is none); the backend
// turns it into an error when the submission ends, since a kernel cannot throw.
struct Fault {
  enum Kind : int { none = 0, label = 1 };
  int kind;
  int value;    // e.g. the label
  int place;    // e.g. the image
  int allowed;  // e.g. the number of classes
};

// A kernel of this project's own whose code is on the device. Made while a program is prepared:
// CUDA loads a kernel when it is first asked for it, and to load one at its first launch would hold
// up a step whose collectives wait for other ranks, or break the graph that is being recorded.
template <typename... Parameters>
class LoadedKernel {
 public:
  using Function = void (*)(Parameters...);

  explicit LoadedKernel(Function function) : function_(function) {
    cudaFuncAttributes attributes{};
    ONEHOUR_CUDA(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(function)));
  }
  Function function() const { return function_; }

 private:
  Function function_;
};

// Launches a kernel on a stream of the program, without waiting for it.
template <typename... Parameters, typename... Arguments>
void launch(const LoadedKernel<Parameters...>& kernel, dim3 grid, dim3 block, Stream& stream,
            Arguments&&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = handleOf(stream);
  ONEHOUR_CUDA(
      cudaLaunchKernelEx(&config, kernel.function(), static_cast<Parameters>(arguments)...));
}

}  // namespace onehour::cuda
