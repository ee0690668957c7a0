// The module onehour_cuda.node: its devices and its kernels.
#include "../ops/kernels.h"
#include "backend.h"
#include "devices.h"

namespace onehour {

std::shared_ptr<Backend> createBackend(const BackendOptions& options) {
  return cuda::createCudaBackend(options);
}

std::vector<DeviceListing> listDevices() { return cuda::listGpus(); }

const KernelTable& kernelTable() { return cuda::kernelRegistry().kernels(); }

}  // namespace onehour
