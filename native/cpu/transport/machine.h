// Identifies the machine, to find ranks that can share memory or Unix sockets.
#pragma once

#include "proof.h"

namespace onehour::cpu {

// Equal where a process number means the same process (the same start of the kernel and the same
// name space of processes), and all zero where that is unknown. Ranks with another ONEHOUR_HOST
// count as on another machine.
Digest machineOfProcesses();

// Equal where one rank reaches another's Unix socket and the kernel names the same user to both.
Digest machineOfSockets();

}  // namespace onehour::cpu
