#include "kernel-registry.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace onehour {

const KernelTable& KernelRegistry::kernels() {
  std::call_once(once_, [this] {
    KernelTable all;
    for (const Table table : tables_) {
      for (const auto& [op, entry] : table()) {
        if (all.emplace(op, entry).second) continue;
        throw std::logic_error("two files register kernels of the op " + std::string(op) +
                               "; a backend has one kernel for an op: rename or remove the other");
      }
    }
    kernels_ = std::move(all);
  });
  return kernels_;
}

}  // namespace onehour
