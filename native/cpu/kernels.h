// The CPU backend's op families: each file of this folder contributes one table of kernels.
#pragma once

#include <memory>
#include <utility>

#include "../core/backend.h"

namespace onehour::cpu {

const KernelTable& convKernels();         // conv.cc
const KernelTable& batchNormKernels();    // batch-norm.cc
const KernelTable& poolKernels();         // pool.cc
const KernelTable& elementwiseKernels();  // elementwise.cc
const KernelTable& linearKernels();       // linear.cc
const KernelTable& lossKernels();         // loss.cc
const KernelTable& sgdKernels();          // sgd.cc
const KernelTable& collectiveKernels();   // collective.cc

// A Gloo context over TCP (collective.cc).
std::unique_ptr<Communicator> createGlooCommunicator(int rank, int size, double timeoutSeconds);

// A kernel from a callable `void(Stream&)`.
template <typename Body>
std::unique_ptr<Kernel> makeKernel(Body body, size_t workspaceBytes = 0) {
  struct Callable final : Kernel {
    Callable(Body body, size_t bytes) : body(std::move(body)), bytes(bytes) {}
    void run(Stream& stream) override { body(stream); }
    size_t workspaceBytes() const override { return bytes; }
    Body body;
    size_t bytes;
  };
  return std::make_unique<Callable>(std::move(body), workspaceBytes);
}

}  // namespace onehour::cpu
