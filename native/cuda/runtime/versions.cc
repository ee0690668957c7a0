// Versions of NVIDIA's libraries: the oldest that the CUDA backend is written for, in their own
// macros, and those that were loaded. CUDA 12 and 13 agree in all that this backend calls; a
// difference would be handled here.
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <nccl.h>

#include "../../core/backend.h"
#include "cuda.h"
#include "library-version.h"

namespace onehour {
namespace {

static_assert(CUDART_VERSION >= 12040, "CUDA 12.4 or later is needed");
static_assert(CUDNN_VERSION >= 90800, "cuDNN 9.8 or later is needed");
static_assert(NCCL_VERSION_CODE >= NCCL_VERSION(2, 20, 0), "NCCL 2.20 or later is needed");

// 13000 is CUDA 13.0.
std::string ofCuda(int value) {
  return std::to_string(value / 1000) + "." + std::to_string(value % 1000 / 10);
}

}  // namespace

LibraryVersions libraryVersions() {
  int driver = 0;  // stays so without one
  int runtime = 0;
  int nccl = 0;
  ONEHOUR_CUDA(cudaDriverGetVersion(&driver));
  ONEHOUR_CUDA(cudaRuntimeGetVersion(&runtime));
  static_cast<void>(ncclGetVersion(&nccl));
  using cuda::versionName;
  return {{"CUDA", ofCuda(CUDART_VERSION), ofCuda(runtime)},
          {"CUDA of the driver", "", driver == 0 ? "none" : ofCuda(driver)},
          {"cuDNN", versionName(CUDNN_VERSION), versionName(cudnnGetVersion())},
          {"cuBLASLt", versionName(CUBLAS_VERSION), versionName(cublasLtGetVersion())},
          {"NCCL", versionName(NCCL_VERSION_CODE), versionName(static_cast<size_t>(nccl))}};
}

}  // namespace onehour
