// The module onehour_fake.node, for tests of the addon itself.
#include "fake-backend.h"

namespace onehour {

std::shared_ptr<Backend> createBackend(const BackendOptions&) { return createFakeBackend(false); }

std::vector<DeviceListing> listDevices() { return {}; }

LibraryVersions libraryVersions() { return {}; }

// The backend keeps one table for all its devices.
const KernelTable& kernelTable() { return createFakeBackend(false)->kernels(); }

}  // namespace onehour
