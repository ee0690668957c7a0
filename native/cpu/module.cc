// What the module onehour_cpu.node opens and offers.
#include "backend.h"

namespace onehour {

std::shared_ptr<Backend> createBackend(const BackendOptions& options) {
  return cpu::createCpuBackend(options.threads);
}

std::vector<DeviceListing> listDevices() {
  const DeviceProperties properties = createBackend({})->properties();
  DeviceListing listing;
  listing.name = properties.name;
  listing.kind = properties.kind;
  listing.memoryBytes = properties.memoryBytes;
  return {listing};
}

const KernelTable& kernelTable() { return cpu::cpuKernels(); }

}  // namespace onehour
