// Tests of the CUDA backend's streams, recordings and measurements on the emulated device.
#include <algorithm>
#include <cstring>
#include <future>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../core/executor.h"
#include "../check.h"
#include "../concurrency.h"
#include "../cpu/lines.h"
#include "../fakes/cuda-runtime.h"
#include "../programs.h"

namespace onehour::test {
namespace {

// Two streams, one of which waits for the other.
const std::string kProgram = program(
    "compute relu | x=input+0:f32[16] -> y=temp+0:f32[16]\n"
    "compute signal event=0\n"
    "comm wait event=0\n"
    "comm add | a=temp+0:f32[16] b=param+0:f32[16] -> y=temp+64:f32[16]\n"
    "comm signal event=1\n"
    "compute wait event=1\n"
    "compute copy | x=temp+64:f32[16] -> y=output+0:f32[16]");

struct Session {
  Session() {
    start([&](Executor::Done done) { executor->load({{"p", kProgram}}, std::move(done)); }).get();
    std::vector<uint8_t> bytes(64);
    const std::vector<float> ones(16, 1);
    std::memcpy(bytes.data(), ones.data(), bytes.size());
    start([&](Executor::Done done) { executor->write("param", 0, bytes, std::move(done)); }).get();
  }
  ~Session() {
    executor->dispose();
    CHECK(executor->worker()->join(Worker::Clock::now() + std::chrono::seconds(10)));
  }

  // A step on a slot gives relu(x) + 1, in the slot and in its arena.
  void step(int slot, float x) {
    auto* input = static_cast<float*>(executor->slot("input", slot).get());
    std::fill_n(input, 16, x);
    start([&](Executor::Done done) { executor->submit("p", slot, std::move(done)); }).get();
    const float expected = std::max(x, 0.0F) + 1;
    CHECK(static_cast<float*>(executor->slot("output", slot).get())[15] == expected);
    const auto bytes = start<std::vector<uint8_t>>([&](auto done) {
                         executor->read("temp", 64, 64, std::move(done));
                       }).get();
    float last = 0;
    std::memcpy(&last, bytes.data() + 60, 4);
    CHECK(last == expected);
  }

  // Why nothing is replayed.
  std::string record() {
    return start<std::string>([&](auto done) { executor->record(std::move(done)); }).get();
  }

  std::shared_ptr<Executor> executor = Executor::create(createBackend({}), {});
};

void replays() {
  Session session;
  session.step(0, 2);
  for (int again = 0; again < 2; ++again) {
    CHECK(session.record().empty());
    for (const float x : {3.0F, -1.0F, 7.0F, 0.5F}) session.step(x > 2 ? 1 : 0, x);
  }
  start([&](Executor::Done done) { session.executor->forget(std::move(done)); }).get();
  session.step(1, 4);
}

// What a collective's stream runs goes first in a replayed step as in others.
void keepsPriorities() {
  Session session;
  CHECK(session.record().empty());
  session.step(0, 2);
  CHECK((fake::replayedPriorities() == std::vector<int>{0, -1, 0}));
}

__global__ void neverLoaded() {}

// Which shows that the kernels of the steps above were loaded while they were prepared.
void refusesWhatWasNotLoaded() {
  const cudaLaunchConfig_t config;
  bool refused = false;
  try {
    cudaLaunchKernelEx(&config, neverLoaded);
  } catch (const std::logic_error&) {
    refused = true;
  }
  CHECK(refused);
}

void measures() {
  Session session;
  const auto timings = start<std::vector<Executor::Timing>>([&](auto done) {
                         session.executor->measure("p", 1, 4, std::move(done));
                       }).get();
  std::vector<int> lines;
  for (const auto& [line, milliseconds] : timings) {
    lines.push_back(line);
    CHECK(milliseconds.size() == 4);
    for (const double time : milliseconds) CHECK(time >= 0);
  }
  CHECK((lines == std::vector<int>{7, 10, 13}));
}

// Kernel by kernel, also where it was recorded; the second stream sleeps while the first waits for
// it.
void traces() {
  Session session;
  for (const bool isRecorded : {false, true}) {
    if (isRecorded) CHECK(session.record().empty());
    std::fill_n(static_cast<float*>(session.executor->slot("input", 1).get()), 16, 4.0F);
    const int before = fake::launches();
    const Executor::Trace trace = start<Executor::Trace>([&](auto done) {
                                    session.executor->trace("p", 1, std::move(done));
                                  }).get();
    CHECK(fake::launches() == before + 3);
    CHECK(static_cast<float*>(session.executor->slot("output", 1).get())[15] == 5);
    CHECK(trace.times.size() == 14);
    const auto begin = [&](size_t line) { return trace.times[2 * line]; };
    const auto end = [&](size_t line) { return trace.times[2 * line + 1]; };
    for (size_t line = 0; line < 7; ++line) CHECK(begin(line) >= 0 && end(line) >= begin(line));
    for (const auto& [one, other] : std::vector<std::pair<size_t, size_t>>{
             {0, 1}, {1, 5}, {5, 6}, {2, 3}, {3, 4}}) {  // one stream's, then the other's
      CHECK(begin(other) >= end(one));
    }
    CHECK(end(2) >= begin(1) && end(5) >= begin(4));
  }
}

// Of every op: with optional operands and without, in both types.
void launchesWhatTheTableSays() {
  const std::shared_ptr<Backend> backend = createBackend({});
  LineRunner runner(backend);
  std::map<std::string, int> tried;
  std::map<std::string, int> most;
  for (const std::string& line : linesOf(backend->kernels())) {
    const std::string op = split(line, ' ')[0];
    if (++tried[op] > 4) continue;  // larger sizes
    const int before = fake::launches();
    try {
      if (!runner.run(line)) continue;
    } catch (const Error&) {
      continue;  // a line that the kernel refuses, or that communicates
    }
    most[op] = std::max(most[op], fake::launches() - before);
  }
  CHECK(most.size() + 10 > backend->kernels().size());
  for (const auto& [op, launches] : most) {
    if (launches == backend->kernels().at(op).launches) continue;
    std::fprintf(stderr, "%s launches %d kernels\n", op.c_str(), launches);
    CHECK(false);
  }
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"recorded steps are replayed", replays},
              {"recorded kernels keep their streams' priorities", keepsPriorities},
              {"each kernel is measured", measures},
              {"each line of a step is traced", traces},
              {"ops launch as many kernels as their table says", launchesWhatTheTableSays},
              {"a kernel that was not loaded is refused", refusesWhatWasNotLoaded}});
}
