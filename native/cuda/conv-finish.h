// What this project's own kernels do with what a convolution's plan left in the workspace.
#pragma once

#include "cuda.h"

namespace onehour::cuda {

// dw = computed, or dw += computed; `computed` is of type f32 or bf16 and 16-byte aligned, as dw
// is.
void finishFilterGradient(Stream& stream, const void* computed, DataType type, float* dw,
                          int64_t count, bool accumulate);

// (mean, M2, count) by channel from Σy and Σy² over `rows` values each.
void finishStatistics(Stream& stream, const float* sums, const float* squares, int64_t channels,
                      int64_t rows, float* statistics);

}  // namespace onehour::cuda
