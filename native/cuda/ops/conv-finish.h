// This project's own kernels that finish what a convolution's plan left in the workspace.
#pragma once

#include <functional>

#include "../../core/ops/batch-norm.h"
#include "../runtime/cuda.h"

namespace onehour::cuda {

// Launches dw = computed, or dw += computed; `computed` is of type f32, bf16 or f16 and 16-byte
// aligned, as dw is.
std::function<void(Stream&, const void* computed)> filterGradientFinish(DataType type, float* dw,
                                                                        int64_t count,
                                                                        bool accumulate);

// Launches (mean, M2, count) by channel from Σy and Σy² over `rows` values each, and, where
// `finalize` is one, what finalize makes of them. The sums are zero afterwards, for the next ones.
std::function<void(Stream&, float* sums, float* squares)> statisticsFinish(
    int64_t channels, int64_t rows, float* statistics, const BatchNormFinalize& finalize);

}  // namespace onehour::cuda
