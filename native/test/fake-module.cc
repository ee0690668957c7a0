// The module onehour_fake.node, for tests of the addon itself.
#include "fake-backend.h"

namespace onehour {

std::shared_ptr<Backend> createBackend(const BackendOptions&) { return createFakeBackend(false); }

}  // namespace onehour
