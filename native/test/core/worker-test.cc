// Tests of the threads that the core has of its own, the worker and the heartbeat, and of what the
// heartbeat counts.
#include "../../core/worker.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "../../core/heartbeat.h"
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

void beats() {
  std::array<int, 2> ends{};
  CHECK(pipe(ends.data()) == 0);
  CHECK(thrown([] { startHeartbeat(-1, 10); }).code == "ERR_USAGE");
  startHeartbeat(ends[1], 5);
  CHECK(thrown([&] { startHeartbeat(ends[1], 5); }).code == "ERR_USAGE");
  std::string received;
  while (std::count(received.begin(), received.end(), '\n') < 3) {
    std::array<char, 256> buffer;
    const ssize_t length = read(ends[0], buffer.data(), buffer.size());
    CHECK(length > 0);
    if (length <= 0) break;
    received.append(buffer.data(), static_cast<size_t>(length));
  }
  CHECK(received.starts_with("{\"progress\":"));
  CHECK(contains(received, ",\"waiting\":0,\"running\":0,\"reading\":0}\n"));
  close(ends[0]);  // the thread ends by itself; SIGPIPE would end the process
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"a worker's end has a deadline", joinsWithADeadline},
              {"progress", countsKernelsThatDoNotWait},
              {"heartbeat", beats}});
}
