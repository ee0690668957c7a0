#include "kernels.h"

namespace onehour::cuda {

KernelRegistry& kernelRegistry() {
  static KernelRegistry registry;
  return registry;
}

}  // namespace onehour::cuda
