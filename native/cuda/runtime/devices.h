// The GPUs of this machine: which there are, and why one cannot be used.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "../../core/backend.h"

namespace onehour::cuda {

// The newest CUDA that the driver serves, e.g. "12.8".
std::string driverVersion();

// "GPU 0 (NVIDIA H100 80GB HBM3)".
std::string describe(const cudaDeviceProp& properties, int ordinal);

// The GPUs that CUDA_VISIBLE_DEVICES leaves, found without opening one. Throws ERR_DEVICE in plain
// words when there is none or the driver is missing or too old.
std::vector<DeviceListing> listGpus();

// Opens GPU `ordinal` for this process and thread. Throws ERR_DEVICE or ERR_MEMORY, naming the GPU,
// when it does not exist, is of too low a capability, is in use by another process alone, or is
// full.
cudaDeviceProp openGpu(int ordinal);

}  // namespace onehour::cuda
