// The fake of the driver's library, libcuda.so.1, which cuDNN opens by itself: just enough that it
// compiles kernels for a GPU that is only described to it. There is no device, so nothing can run.
#include <stddef.h>
#include <string.h>

typedef int Status;  // CUresult
enum { success = 0, noDevice = 100 };

static Status fail(void) { return noDevice; }

static Status accept(void) { return success; }

static Status version(int *value) {
  *value = 13000;
  return success;
}

static Status describe(Status status, const char **text) {
  *text = status == noDevice ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_UNKNOWN";
  return success;
}

// A plan is finalized only when its compiled kernel was loaded and its attributes are set. What
// these give out is never looked into; it only has to differ from null.
static char object;

static Status give(void **result) {
  *result = &object;
  return success;
}

static Status giveGlobal(void **address, size_t *bytes) {
  if (address != NULL) *address = &object;
  if (bytes != NULL) *bytes = sizeof object;
  return success;
}

static Status zero(int *value) {
  *value = 0;
  return success;
}

static Status one(int *value) {
  *value = 1;
  return success;
}

// The functions that cuDNN 9.24 looks up in the library by name, and what they do here.
#define FUNCTIONS(X)                                          \
  X(cuCtxGetCurrent, fail)                                    \
  X(cuCtxGetDevice, fail)                                     \
  X(cuCtxGetLimit, fail)                                      \
  X(cuCtxPopCurrent, fail)                                    \
  X(cuCtxPushCurrent, fail)                                   \
  X(cuDeviceGet, fail)                                        \
  X(cuDeviceGetAttribute, fail)                               \
  X(cuDeviceGetCount, fail)                                   \
  X(cuDevicePrimaryCtxRelease, fail)                          \
  X(cuDevicePrimaryCtxReset, fail)                            \
  X(cuDevicePrimaryCtxRetain, fail)                           \
  X(cuDriverGetVersion, version)                              \
  X(cuFuncGetAttribute, zero)                                 \
  X(cuFuncSetAttribute, accept)                               \
  X(cuGetErrorName, describe)                                 \
  X(cuGetErrorString, describe)                               \
  X(cuInit, fail)                                             \
  X(cuKernelGetAttribute, zero)                               \
  X(cuKernelGetFunction, give)                                \
  X(cuKernelSetAttribute, accept)                             \
  X(cuLaunchCooperativeKernel, fail)                          \
  X(cuLaunchKernel, fail)                                     \
  X(cuLaunchKernelEx, fail)                                   \
  X(cuLibraryGetGlobal, giveGlobal)                           \
  X(cuLibraryGetKernel, give)                                 \
  X(cuLibraryGetModule, give)                                 \
  X(cuLibraryLoadData, give)                                  \
  X(cuLibraryLoadFromFile, fail)                              \
  X(cuLibraryUnload, accept)                                  \
  X(cuLinkAddData, fail)                                      \
  X(cuLinkAddData_v2, fail)                                   \
  X(cuLinkAddFile_v2, fail)                                   \
  X(cuLinkComplete, fail)                                     \
  X(cuLinkCreate, fail)                                       \
  X(cuLinkCreate_v2, fail)                                    \
  X(cuLinkDestroy, fail)                                      \
  X(cuMemcpyDtoH_v2, fail)                                    \
  X(cuModuleGetFunction, give)                                \
  X(cuModuleGetGlobal_v2, giveGlobal)                         \
  X(cuModuleLoadData, give)                                   \
  X(cuModuleLoadDataEx, give)                                 \
  X(cuModuleLoadFatBinary, fail)                              \
  X(cuModuleUnload, accept)                                   \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessor, one)         \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, one) \
  X(cuOccupancyMaxActiveClusters, one)                        \
  X(cuOccupancyMaxPotentialClusterSize, fail)                 \
  X(cuStreamGetCtx, fail)                                     \
  X(cuStreamSynchronize, fail)                                \
  X(cuTensorMapEncodeTiled, fail)

#define EXPORT(name, body) extern __typeof__(body) name __attribute__((alias(#body)));
FUNCTIONS(EXPORT)

// The runtime that is linked into cuDNN asks for every function of the driver and takes any answer.
Status cuGetProcAddress_v2(const char *name, void **function, int wanted, unsigned long long flags,
                           int *outcome) {
  (void)wanted, (void)flags;
  *function = (void *)fail;
#define ANSWER(known, body) \
  if (strcmp(name, #known) == 0) *function = (void *)body;
  FUNCTIONS(ANSWER)
  if (outcome != NULL) *outcome = 0;
  return success;
}

Status cuGetProcAddress(const char *name, void **function, int wanted, unsigned long long flags) {
  return cuGetProcAddress_v2(name, function, wanted, flags, NULL);
}
