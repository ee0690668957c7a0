// Errors of CUDA's runtime in this project's words.
#include "cuda.h"

#include <string>

#include "../../core/words.h"

namespace onehour::cuda {
namespace {

// cudaErrorContained, which the oldest headers that this builds with do not name.
constexpr auto containedError = static_cast<cudaError_t>(226);

// What to try, by failure.
std::string hintFor(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return kMemoryHint;
    case cudaErrorInsufficientDriver:
      return "; the driver is older than the CUDA that this was built with: update the driver, or "
             "build with an older CUDA toolkit (" +
             buildCommand() + ")";
    case cudaErrorNoDevice:
      return "; there is no GPU here that CUDA can use: try --device cpu";
    case cudaErrorDevicesUnavailable:
      return "; another process has this GPU for itself (nvidia-smi shows which): end it or choose "
             "another GPU with CUDA_VISIBLE_DEVICES";
    case cudaErrorNoKernelImageForDevice:
      return "; the module was built for other GPUs: build it with "
             "ONEHOUR_CUDA_ARCHITECTURES=native " +
             buildCommand();
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
      return "; the driver's parts are of different versions: restart the machine after an update";
    default:
      return isSticky(status) ? "; the device is unusable for this process from here on: start "
                                "again, and with CUDA_LAUNCH_BLOCKING=1 to see which kernel it is"
                              : "";
  }
}

}  // namespace

bool isSticky(cudaError_t status) {
  if (status == containedError) return true;
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
      return true;
    default:
      return false;
  }
}

void throwCudaError(cudaError_t status, const char* call) {
  const char* code = status == cudaErrorMemoryAllocation ? "ERR_MEMORY" : "ERR_DEVICE";
  throw Error(code, "CUDA",
              std::string(call) + " failed with " + cudaGetErrorName(status) + ": " +
                  cudaGetErrorString(status) + hintFor(status));
}

}  // namespace onehour::cuda
