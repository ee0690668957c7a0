// Empty tables of the op families that tests of the CUDA backend do without.
#include "../../cuda/ops/kernels.h"

namespace onehour::cuda {
namespace {

const KernelTable& noKernels() {
  static const KernelTable none;
  return none;
}

}  // namespace

const KernelTable& convKernels() { return noKernels(); }
const KernelTable& batchNormKernels() { return noKernels(); }
const KernelTable& batchNormBackwardKernels() { return noKernels(); }
const KernelTable& channelKernels() { return noKernels(); }
const KernelTable& poolKernels() { return noKernels(); }
const KernelTable& linearKernels() { return noKernels(); }
const KernelTable& lossKernels() { return noKernels(); }
const KernelTable& normsKernels() { return noKernels(); }
const KernelTable& sgdKernels() { return noKernels(); }
const KernelTable& larsKernels() { return noKernels(); }

}  // namespace onehour::cuda
