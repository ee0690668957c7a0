// The CPU backend: threads as streams, anonymous pages as memory, the kernels of its ops.
#pragma once

#include <memory>

#include "../../core/backend.h"

namespace onehour::cpu {

// `threads` is what the stream "compute" runs its kernels with, at least 1; other streams have one.
// Kernels and events must outlive the streams that they were queued on.
std::shared_ptr<Backend> createCpuBackend(int threads);

}  // namespace onehour::cpu
