// The CPU backend's op families: each file of this folder contributes one table of kernels.
#pragma once

#include <memory>

#include "../../core/backend.h"

namespace onehour::cpu {

const KernelTable& convKernels();               // conv.cc
const KernelTable& batchNormKernels();          // batch-norm.cc
const KernelTable& batchNormBackwardKernels();  // batch-norm-backward.cc
const KernelTable& poolKernels();               // pool.cc
const KernelTable& channelKernels();            // channels.cc
const KernelTable& elementwiseKernels();        // elementwise.cc
const KernelTable& linearKernels();             // linear.cc
const KernelTable& lossKernels();               // loss.cc
const KernelTable& normsKernels();              // norms.cc
const KernelTable& sgdKernels();                // sgd.cc
const KernelTable& larsKernels();               // lars.cc
const KernelTable& collectiveKernels();         // collective.cc

// Ranks that talk through shared memory or Gloo (collective.cc).
std::unique_ptr<Communicator> createHostCommunicator(int rank, int size, double timeoutSeconds);

}  // namespace onehour::cpu
