#include "kernels.h"

namespace onehour::cpu {

KernelRegistry& kernelRegistry() {
  static KernelRegistry registry;
  return registry;
}

}  // namespace onehour::cpu
