// The module onehour_cpu.node: its device, its versions and its kernels.
#include <dnnl.hpp>

#include "../ops/kernels.h"
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

LibraryVersions libraryVersions() {
  const dnnl_version_t& version = *dnnl_version();
  return {{"oneDNN", std::to_string(version.major) + "." + std::to_string(version.minor) + "." +
                         std::to_string(version.patch)}};
}

const KernelTable& kernelTable() { return cpu::kernelRegistry().kernels(); }

}  // namespace onehour
