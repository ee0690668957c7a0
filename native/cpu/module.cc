// The device that the module onehour_cpu.node opens.
#include "backend.h"

namespace onehour {

std::shared_ptr<Backend> createBackend(const BackendOptions& options) {
  return cpu::createCpuBackend(options.threads);
}

}  // namespace onehour
