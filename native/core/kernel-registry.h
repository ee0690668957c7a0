// The kernels of a backend. Each file of its ops registers a table of its own, so that a new op
// touches no list of files.
#pragma once

#include <mutex>
#include <vector>

#include "backend.h"

namespace onehour {

class KernelRegistry {
 public:
  using Table = KernelTable (*)();

  // For static initializers, which run in any order: nothing is called yet.
  void add(Table table) { tables_.push_back(table); }

  // All tables in one. Throws std::logic_error where two of them have the same op.
  const KernelTable& kernels();

 private:
  std::vector<Table> tables_;
  std::once_flag once_;
  KernelTable kernels_;
};

// Registers a table: a static object of the file that has the kernels.
struct RegisteredKernels {
  RegisteredKernels(KernelRegistry& registry, KernelRegistry::Table table) { registry.add(table); }
};

}  // namespace onehour
