// Tests of a worker's end, and of what the heartbeat counts.
#include "../../core/worker.h"

#include <chrono>
#include <future>
#include <thread>

#include "../../core/progress.h"
#include "../check.h"

namespace onehour::test {
namespace {

void joinsWithADeadline() {
  Worker worker("test");
  std::promise<void> release;
  auto gate = release.get_future().share();
  worker.post([gate] { gate.wait(); });
  worker.stop();
  CHECK(!worker.post([] {}));
  CHECK(!worker.join(Worker::Clock::now() + std::chrono::milliseconds(20)));
  release.set_value();
  CHECK(worker.join(Worker::Clock::now() + std::chrono::seconds(10)));
  CHECK(worker.finished());
}

void countsKernelsThatDoNotWait() {
  const auto& [completed, waiting, running, reading] = progress::counters();
  const uint64_t before = completed.load();
  {
    const progress::KernelScope kernel;
    CHECK(running.load() == 1);
    {
      const progress::WaitingScope wait;
      CHECK(running.load() == 0 && waiting.load() == 1);
      // A kernel of another stream, and a wait outside of any.
      std::thread([&] {
        {
          const progress::KernelScope other;
          CHECK(running.load() == 1);
        }
        const progress::WaitingScope second;
        CHECK(running.load() == 0 && waiting.load() == 2);
      }).join();
    }
    CHECK(running.load() == 1 && waiting.load() == 0);
  }
  CHECK(running.load() == 0);
  CHECK(completed.load() == before + 2);
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"a worker's end has a deadline", joinsWithADeadline},
              {"progress", countsKernelsThatDoNotWait}});
}
