// Where each file of this folder registers its kernels.
#pragma once

#include "../../core/kernel-registry.h"

namespace onehour::cpu {

KernelRegistry& kernelRegistry();

}  // namespace onehour::cpu
