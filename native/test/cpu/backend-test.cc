// Tests of the CPU's streams, events, copies and memory.
#include "../../cpu/runtime/backend.h"

#include <time.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "../check.h"

namespace onehour::test {
namespace {

using cpu::createCpuBackend;

template <typename Body>
void expectError(const std::string& code, const std::string& part, const Body& body) {
  const Error error = thrown(body);
  CHECK(error.code == code && contains(error.what(), part));
}

void streams() {
  struct Body final : Kernel {
    explicit Body(std::function<void()> work) : work(std::move(work)) {}
    void run(Stream&) override { work(); }
    std::function<void()> work;
  };
  const std::shared_ptr<Backend> opened = createCpuBackend(2);
  Backend& backend = *opened;
  std::atomic<int> value{0};
  Body first([&] {
    struct timespec pause {
      0, 20'000'000
    };
    nanosleep(&pause, nullptr);
    value = 1;
  });
  int seen = 0;
  Body second([&] { seen = value; });
  Body broken([] { throw Error("ERR_KERNEL", "test", "broken"); });
  const auto event = backend.createEvent(), poisoned = backend.createEvent();
  {
    const auto a = backend.createStream("compute"), b = backend.createStream("comm");
    for (uint64_t generation = 1; generation < 4; ++generation) {
      value = 0;
      seen = 0;
      backend.wait(*b, *event, generation);
      backend.launch(*b, second);
      backend.launch(*a, first);
      backend.signal(*a, *event, generation);
      backend.synchronize(*b);
      CHECK(seen == 1);
    }
    char from[4] = "abc", to[4] = "";
    backend.copy(*a, to, from, 4);
    backend.synchronize(*a);
    CHECK(std::strcmp(to, "abc") == 0);

    // An error stops the kernels of its stream and of streams that wait for it; callbacks get it.
    backend.launch(*a, broken);
    backend.signal(*a, *poisoned, 1);
    backend.wait(*b, *poisoned, 1);
    value = 5;
    backend.launch(*b, second);
    expectError("ERR_KERNEL", "broken", [&] { backend.synchronize(*b); });
    expectError("ERR_KERNEL", "broken", [&] { backend.synchronize(*a); });
    CHECK(seen == 1);
    // A stream that waits for ever ends with its owner.
    const auto c = backend.createStream("statistics");
    backend.wait(*c, *event, 1000);
  }
}

void memory() {
  const std::shared_ptr<Backend> backend = createCpuBackend(2);
  const auto bytes = backend->allocate(5'000'000, MemoryKind::device);
  CHECK(reinterpret_cast<uintptr_t>(bytes.get()) % 64 == 0);
  bool zero = true;
  for (int i = 0; i < 5'000'000; ++i) zero = zero && static_cast<char*>(bytes.get())[i] == 0;
  CHECK(zero);
  expectError("ERR_MEMORY", "cannot allocate",
              [&] { backend->allocate(size_t{1} << 45, MemoryKind::device); });
  expectError("ERR_DEVICE", "at least one thread", [] { createCpuBackend(0); });
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"streams, events and copies", streams}, {"memory", memory}});
}
