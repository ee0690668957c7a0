// How tests steer the fake of CUDA's runtime, which is linked in the runtime's place.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace onehour::fake {

constexpr size_t memoryBytes = size_t{8} << 30;  // of a GPU

struct Gpu {
  int major = 9, minor = 0;
  int mode = cudaComputeModeDefault;
  cudaError_t opening = cudaSuccess;
  // What other processes leave of it; ONEHOUR_EMULATED_FREE comes before it.
  size_t freeBytes = memoryBytes;
};

struct Machine {
  std::vector<Gpu> gpus{Gpu{}};
  int driver = CUDART_VERSION;
  cudaError_t counting = cudaSuccess;  // of the GPUs
};

// From now on this is the machine, and nothing on it is broken.
void start(Machine machine = {});
// GPUs that were opened since.
int opened();

// Work for a stream, as a kernel is.
cudaError_t post(cudaStream_t stream, std::function<void()> work);
// From now on so much time is between any two events; at first it is what passes.
void takeMilliseconds(float elapsed);
// Waits of streams for events so far.
int waits();
// Kernels and fills of memory that were put on streams so far.
int launches();
// The priority of each kernel of the graph that ran last.
std::vector<int> replayedPriorities();

// From now on nothing that is queued runs and every call fails alike. What a kernel throws does the
// same, with cudaErrorLaunchFailure.
void breakDevice(cudaError_t how, const std::string& reason = "broken by the test");

}  // namespace onehour::fake
