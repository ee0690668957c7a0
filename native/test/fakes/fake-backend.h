// A backend for tests of the core: streams are threads, kernels do arithmetic on f32, sleep, fail
// or block on command.
#pragma once

#include <memory>

#include "../../core/backend.h"

namespace onehour {

// What becomes of the wish to record: a kernel that replays, nothing, or an error.
enum class FakeRecording { replays, nothing, fails };

// With `separate` memory the host's slots are not the device's, as on a GPU, and copies to memory
// of the host that is not the device's own to write to are refused.
std::shared_ptr<Backend> createFakeBackend(bool separate,
                                           FakeRecording recording = FakeRecording::replays);

// How often recordings of all fake backends were replayed.
int fakeReplays();

}  // namespace onehour
