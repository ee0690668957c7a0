// The oldest libraries that the CUDA backend is written for, in the versions' own macros. CUDA 12
// and 13 are alike in all that this backend calls; where they are not, they are to be told apart
// here.
#include <cuda_runtime_api.h>
#include <cudnn_version.h>
#include <nccl.h>

static_assert(CUDART_VERSION >= 12040, "CUDA 12.4 or later is needed");
static_assert(CUDNN_VERSION >= 90800, "cuDNN 9.8 or later is needed");
static_assert(NCCL_VERSION_CODE >= NCCL_VERSION(2, 20, 0), "NCCL 2.20 or later is needed");
