// How the stand-in for NCCL and CUDA's runtime is steered and asked; it is linked in their place.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

namespace onehour::stub {

// Communicators, registrations and allocations of NCCL's that exist now.
int communicators();
int registrations();
int collectiveAllocations();
// How communicators ended so far.
int destroyed();
int aborted();
// Calls that NCCL forbids: on a communicator that is gone, in progress, or in another call.
int misuses();
// From now on a rank's communicators report that a peer is gone.
void failRank(int rank);
void mend();
// Work for a stream's thread.
void post(cudaStream_t stream, std::function<void()> job);

}  // namespace onehour::stub
