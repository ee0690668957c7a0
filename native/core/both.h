// Marks a function that both the host and CUDA kernels call.
#pragma once

#if defined(__CUDACC__)
#define ONEHOUR_BOTH __host__ __device__
#else
#define ONEHOUR_BOTH
#endif
