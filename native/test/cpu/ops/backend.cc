// Tests of streams, events, copies and memory.
#include <time.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <utility>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {

void streams() {
  struct Body final : Kernel {
    explicit Body(std::function<void()> work) : work(std::move(work)) {}
    void run(Stream&) override { work(); }
    std::function<void()> work;
  };
  Backend& backend = *device->backend;
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
      check(seen == 1, "a stream did not wait for the event");
    }
    char from[4] = "abc", to[4] = "";
    backend.copy(*a, to, from, 4);
    backend.synchronize(*a);
    check(std::strcmp(to, "abc") == 0, "copy");

    // An error stops the kernels of its stream and of streams that wait for it; callbacks get it.
    backend.launch(*a, broken);
    backend.signal(*a, *poisoned, 1);
    backend.wait(*b, *poisoned, 1);
    value = 5;
    backend.launch(*b, second);
    expectError("ERR_KERNEL", "broken", [&] { backend.synchronize(*b); });
    expectError("ERR_KERNEL", "broken", [&] { backend.synchronize(*a); });
    check(seen == 1, "a kernel ran after an error");
    // A stream that waits for ever ends with its owner.
    const auto c = backend.createStream("statistics");
    backend.wait(*c, *event, 1000);
  }
  const auto memory = backend.allocate(5'000'000, MemoryKind::device);
  check(reinterpret_cast<uintptr_t>(memory.get()) % 64 == 0, "alignment");
  bool zero = true;
  for (int i = 0; i < 5'000'000; ++i) zero = zero && static_cast<char*>(memory.get())[i] == 0;
  check(zero, "memory is not zeroed");
  expectError("ERR_MEMORY", "cannot allocate",
              [&] { backend.allocate(size_t{1} << 45, MemoryKind::device); });
  expectError("ERR_DEVICE", "at least one thread", [] { createCpuBackend(0); });
}

}  // namespace onehour::cpu::test
