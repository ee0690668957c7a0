// The module onehour_cpu.node: its device, its versions and its kernels.
#include <gloo/config.h>

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
  const dnnl_version_t& loaded = *dnnl_version();
  return {{"oneDNN", versionText(DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH),
           versionText(loaded.major, loaded.minor, loaded.patch)},
          {"Gloo", versionText(GLOO_VERSION_MAJOR, GLOO_VERSION_MINOR, GLOO_VERSION_PATCH), ""}};
}

const KernelTable& kernelTable() { return cpu::kernelRegistry().kernels(); }

}  // namespace onehour
