// The CUDA backend: streams, events and memory of one GPU, the kernels of its ops.
#pragma once

#include <memory>

#include "../../core/backend.h"

namespace onehour::cuda {

// Opens GPU `options.ordinal` of those that CUDA_VISIBLE_DEVICES leaves. Throws ERR_DEVICE, naming
// the GPU, when there is none, its driver is too old, another process has it for itself, or its
// compute capability is below 8.0.
std::shared_ptr<Backend> createCudaBackend(const BackendOptions& options);

}  // namespace onehour::cuda
