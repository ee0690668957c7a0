// Where each file of this folder registers its kernels, and what factories of kernels ask the
// backend for.
#pragma once

#include "../../core/kernel-registry.h"
#include "../runtime/cuda.h"

namespace onehour::cuda {

KernelRegistry& kernelRegistry();

// Beyond `PrepareContext` (../runtime/backend.cc).
const DeviceTraits& traitsOf(const PrepareContext& context);
// The place where kernels note a fault, as device code addresses it.
Fault* faultOf(const PrepareContext& context);

}  // namespace onehour::cuda
