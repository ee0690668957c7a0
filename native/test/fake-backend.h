// A backend for tests of the core: streams are threads, kernels do arithmetic on f32, sleep, fail
// or block on command.
#pragma once

#include <memory>

#include "../core/backend.h"

namespace onehour {

// With `separate` memory the host's slots are not the device's, as on a GPU.
std::shared_ptr<Backend> createFakeBackend(bool separate);

}  // namespace onehour
