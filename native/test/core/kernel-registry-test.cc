// Tests that a backend's kernels come from the tables that its files register.
#include "../../core/kernel-registry.h"

#include <stdexcept>

#include "../check.h"

namespace onehour::test {
namespace {

KernelTable tableOf(std::string_view op) { return {{op, {"->", nullptr}}}; }

void tablesBecomeOne() {
  KernelRegistry registry;
  const RegisteredKernels first(registry, [] { return tableOf("add"); });
  const RegisteredKernels second(registry, [] { return tableOf("relu"); });
  CHECK(registry.kernels().size() == 2);
  CHECK(registry.kernels().contains("add"));
  CHECK(registry.kernels().contains("relu"));
}

void anOpOfTwoFilesIsRefused() {
  KernelRegistry registry;
  for (int file = 0; file < 2; ++file) registry.add([] { return tableOf("add"); });
  for (int call = 0; call < 2; ++call) {
    std::string message;
    try {
      registry.kernels();
    } catch (const std::logic_error& error) {
      message = error.what();
    }
    CHECK(contains(message, "two files register kernels of the op add"));
  }
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({
      {"the tables of several files become one", tablesBecomeOne},
      {"an op that two files register is refused", anOpOfTwoFilesIsRefused},
  });
}
