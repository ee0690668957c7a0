// Which machine a process is on, as far as ranks can do something together there.
#pragma once

#include "proof.h"

namespace onehour::cpu {

// Equal where a process number means the same process, and all zero where nothing is known of it:
// the kernel's start and the name space of processes. Ranks with another ONEHOUR_HOST are on
// another machine.
Digest machineOfProcesses();

// Equal where one rank reaches another's Unix socket and the kernel names the same user to both.
Digest machineOfSockets();

}  // namespace onehour::cpu
