// How tests steer and ask the fake of NCCL, which is linked in its place.
#pragma once

#include <string>
#include <vector>

namespace onehour::fake {

// Communicators, registrations and allocations of NCCL's that exist now.
int communicators();
int registrations();
int collectiveAllocations();
// Blocks that all collectives of a rank may have at once.
int blocks(int rank);
// How communicators ended so far.
int destroyed();
int aborted();
// Calls that NCCL forbids: on a communicator that is gone, in progress, or in another call, and a
// collective while another communicator's comes onto its stream.
int misuses();
// What a rank's collectives did on the device so far, in that order: the meeting place of each as
// it begins and as it ends.
std::vector<std::string> journal(int rank);
// The version that NCCL says it has: at first that of the header.
void setVersion(int version);
// From now on a rank's communicators report that a peer is gone.
void failRank(int rank);
void mend();

}  // namespace onehour::fake
