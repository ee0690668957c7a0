// Collectives between processes: through shared memory where all ranks are on one machine, else
// through Gloo over proven connections.
#pragma once

#include <memory>

#include "../../core/backend.h"

namespace onehour::cpu {

std::unique_ptr<Communicator> createHostCommunicator(int rank, int size, double timeoutSeconds);

}  // namespace onehour::cpu
