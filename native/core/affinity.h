// The processors that this process runs on.
#pragma once

#include <vector>

namespace onehour {

// Keeps all threads of this process, and those that they start, on these processors. False where
// the system refuses that. Throws ERR_USAGE for a number that no processor has.
bool bindProcess(const std::vector<int>& processors);

}  // namespace onehour
