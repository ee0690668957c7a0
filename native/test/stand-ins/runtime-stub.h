// How the stand-in for CUDA's runtime is steered; it is linked in the runtime's place.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

namespace onehour::stub {

// Work for a stream's thread.
void post(cudaStream_t stream, std::function<void()> job);

// Waits of streams for events so far.
int waits();

// Has other processes hold all of the device's memory but this.
void leaveFree(size_t bytes);

// From now on nothing that is queued runs and every call fails alike.
void breakDevice(cudaError_t how);
// A new device, as a new process has it.
void mendDevice();

}  // namespace onehour::stub
