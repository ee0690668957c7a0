// The CUDA backend's op families: each file of this folder contributes one table of kernels.
#pragma once

#include <memory>

#include "../../core/backend.h"
#include "../runtime/cuda.h"

namespace onehour::cuda {

const KernelTable& convKernels();               // conv.cc
const KernelTable& batchNormKernels();          // batch-norm.cu
const KernelTable& batchNormBackwardKernels();  // batch-norm-backward.cu
const KernelTable& poolKernels();               // pool.cu
const KernelTable& channelKernels();            // channels.cu
const KernelTable& elementwiseKernels();        // elementwise.cu
const KernelTable& linearKernels();             // linear.cc
const KernelTable& lossKernels();               // loss.cu
const KernelTable& normsKernels();              // norms.cu
const KernelTable& sgdKernels();                // sgd.cu
const KernelTable& larsKernels();               // lars.cu
const KernelTable& collectiveKernels();         // collective.cc

class Watch;

// An NCCL communicator on GPU `ordinal`, that `watch` looks after (communicator.cc).
std::unique_ptr<Communicator> createNcclCommunicator(int ordinal, int rank, int size,
                                                     double timeoutSeconds, bool acrossHosts,
                                                     Watch& watch);
// Whether NCCL keeps collectives of several communicators in the order of their calls.
bool ncclOrdersCollectives();
// Device memory that NCCL can register whole, or plain memory where NCCL has none to give or
// nothing is registered (collective-memory.cc).
std::shared_ptr<void> allocateForCollectives(size_t bytes);

// What kernel factories of this backend know beyond `PrepareContext`.
const DeviceTraits& traitsOf(const PrepareContext& context);
// The place where kernels note a fault, as device code addresses it.
Fault* faultOf(const PrepareContext& context);

}  // namespace onehour::cuda
