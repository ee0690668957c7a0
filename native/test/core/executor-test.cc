// Tests of the executor's threads on the fake backend: streams, recordings, ends at any moment.
// What it returns and refuses, test/native/executor.test.ts checks.
#include "../../core/executor.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../check.h"
#include "../concurrency.h"
#include "../fakes/fake-backend.h"
#include "../programs.h"

namespace onehour::test {
namespace {

// Disposes at the end of a test and waits until everything was freed.
struct Session {
  explicit Session(bool separate = false, Executor::Communicators communicators = {},
                   FakeRecording recording = FakeRecording::replays)
      : executor(
            Executor::create(createFakeBackend(separate, recording), std::move(communicators))) {}
  ~Session() {
    executor->dispose();
    CHECK(executor->worker()->join(Worker::Clock::now() + std::chrono::seconds(10)));
  }

  void load(const std::string& text) { load({{"p", text}}); }
  void load(std::vector<ProgramText> texts) {
    start([&](Executor::Done done) { executor->load(std::move(texts), std::move(done)); }).get();
  }
  void submit(const std::string& name, int slot) { begin(name, slot).get(); }
  std::future<bool> begin(const std::string& name, int slot) {
    return start([&](Executor::Done done) { executor->submit(name, slot, std::move(done)); });
  }
  // Why nothing is replayed.
  std::string record() {
    return start<std::string>([&](auto done) { executor->record(std::move(done)); }).get();
  }
  float* slot(const char* arena, int index) {
    return static_cast<float*>(executor->slot(arena, index).get());
  }
  std::future<std::vector<uint8_t>> beginRead(const std::string& arena, size_t offset,
                                              size_t bytes) {
    return start<std::vector<uint8_t>>(
        [&](auto done) { executor->read(arena, offset, bytes, std::move(done)); });
  }
  float read(const std::string& arena, size_t offset) {
    float value = 0;
    std::memcpy(&value, beginRead(arena, offset, 4).get().data(), 4);
    return value;
  }

  std::shared_ptr<Executor> executor;
};

const std::string kThreeStreams = program(
    "compute affine a=2 | x=input+0:f32[4] -> y=temp+0:f32[4]\n"
    "compute signal event=0\n"
    "comm wait event=0\n"
    "comm sleep milliseconds=1\n"
    "comm affine b=1 | x=temp+0:f32[4] -> y=temp+64:f32[4]\n"
    "comm signal event=1\n"
    "statistics wait event=0\n"
    "statistics affine b=10 | x=temp+0:f32[4] -> y=temp+128:f32[4]\n"
    "statistics signal event=2\n"
    "compute wait event=1\n"
    "compute wait event=2\n"
    "compute sum | a=temp+64:f32[4] b=temp+128:f32[4] -> y=output+0:f32[4]\n"
    "compute scratch bytes=1000\n"
    "comm affine b=1 | x=param+0:f32[1] -> x=param+0:f32[1] y=param+0:f32[1]");

void runsStreamsAndSlots(bool separate) {
  Session session(separate);
  session.load(kThreeStreams);
  CHECK(session.executor->slots() == 2);
  CHECK(session.executor->memory().arenas.at("input") == 128);
  CHECK(session.executor->memory().workspaces.at("compute") == 1000);
  CHECK(session.executor->memory().total == 1024 + 64 + 128 + 128 + 1000);
  std::array<std::future<bool>, 2> flights;
  for (int step = 0; step < 200; ++step) {
    const int slot = step % 2;
    if (step >= 2) {
      flights[static_cast<size_t>(slot)].get();
      CHECK(session.slot("output", slot)[3] == 4 * static_cast<float>(step - 2) + 11);
    }
    std::fill_n(session.slot("input", slot), 4, static_cast<float>(step));
    flights[static_cast<size_t>(slot)] = session.begin("p", slot);
  }
  for (auto& flight : flights) flight.get();
  // The comm stream's last line has no event: only the end of the submission orders it.
  CHECK(session.read("param", 0) == 200);
}

void replaysWhatItRecorded(bool separate) {
  Session session(separate);
  session.load({{"p", kThreeStreams}, {"q", program("compute scratch bytes=64")}});
  const auto steps = [&](int from) {
    for (int step = from; step < from + 10; ++step) {
      std::fill_n(session.slot("input", step % 2), 4, static_cast<float>(step));
      session.submit("p", step % 2);
      CHECK(session.slot("output", step % 2)[3] == 4 * static_cast<float>(step) + 11);
    }
    CHECK(session.read("param", 0) == static_cast<float>(from + 10));
  };
  const int before = fakeReplays();
  steps(0);
  CHECK(fakeReplays() == before);
  for (int again = 0; again < 2; ++again) {
    CHECK(session.record().empty());
    steps(10 + 10 * again);
    session.submit("q", 0);
    CHECK(fakeReplays() == before + 11 * (again + 1));
  }
  start([&](Executor::Done done) { session.executor->forget(std::move(done)); }).get();
  steps(30);
  CHECK(fakeReplays() == before + 22);
}

// Two in flight, a mark before and after each of 14 lines and of the whole, recorded or not.
void tracesWhatItRuns() {
  Session session(true);
  session.load(kThreeStreams);
  const auto begin = [&](int slot) {
    return start<Executor::Trace>(
        [&](auto done) { session.executor->trace("p", slot, std::move(done)); });
  };
  const int before = fakeReplays();
  for (int round = 0; round < 20; ++round) {
    if (round == 10) CHECK(session.record().empty());
    std::fill_n(session.slot("input", 0), 4, static_cast<float>(round));
    std::fill_n(session.slot("input", 1), 4, 100.0F);
    auto first = begin(0);
    auto second = begin(1);
    CHECK(contains(thrown([&] { begin(0).get(); }).what(), "still in flight"));
    for (auto* flight : {&first, &second}) {
      Executor::Trace trace = flight->get();
      std::vector<double> times = trace.times;
      CHECK(times.size() == 28 && trace.began > 0);
      for (size_t i = 0; i < times.size(); i += 2) CHECK(times[i] < times[i + 1]);
      std::sort(times.begin(), times.end());
      for (size_t i = 0; i < times.size(); ++i) CHECK(times[i] == static_cast<double>(i + 1));
    }
    CHECK(session.slot("output", 0)[3] == 4 * static_cast<float>(round) + 11);
    CHECK(session.slot("output", 1)[3] == 411);
    CHECK(session.read("param", 0) == static_cast<float>(2 * (round + 1)));
  }
  CHECK(fakeReplays() == before);
}

void runsWhatCannotBeRecorded() {
  struct Refusal {
    FakeRecording recording;
    const char* reason;
  };
  for (const auto& [recording, reason] :
       {Refusal{FakeRecording::nothing, "the device fake cannot record programs"},
        Refusal{FakeRecording::fails, "something cannot be recorded"}}) {
    Session session(true, {}, recording);
    session.load(kThreeStreams);
    CHECK(session.record() == reason);
    session.slot("input", 1)[3] = 5;
    session.submit("p", 1);
    CHECK(session.slot("output", 1)[3] == 31);
  }
}

void anticipatesAllLines() {
  Session session;
  const std::string line = "compute anticipated | -> y=output+0:f32[1]";
  session.load({{"p", program(line)},
                {"q", program("compute anticipated refuses=1 | -> y=output+0:f32[1]\n" + line)}});
  session.submit("p", 0);
  CHECK(session.slot("output", 0)[0] == 3);
}

// Memory for it is kept, so two at once have one each, and later ones none of their own.
void readsAtOnce() {
  Session session(true);
  session.load(program("compute affine b=1 | x=param+0:f32[8] -> y=param+0:f32[8]"));
  for (float round = 1; round < 4; ++round) {
    std::array<std::future<std::vector<uint8_t>>, 3> flights;
    session.submit("p", 0);
    for (size_t i = 0; i < flights.size(); ++i) {
      flights[i] = session.beginRead("param", 4 * i, 4 * (i + 1));
    }
    for (size_t i = 0; i < flights.size(); ++i) {
      const std::vector<uint8_t> bytes = flights[i].get();
      const std::vector<float> expected(i + 1, round);
      CHECK(bytes.size() == 4 * (i + 1) &&
            std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0);
    }
  }
}

void poisonsAfterAnError() {
  auto backend = createFakeBackend(false);
  const std::shared_ptr<Communicator> peers = backend->createCommunicator(0, 2, 1);
  Session session(false, {{"peers", peers}});
  // The barrier blocks for ever, the failure comes from another stream: both must end.
  session.load({{"good", kThreeStreams},
                {"free", program("compute scratch bytes=64")},
                {"bad", program("comm barrier communicator=peers\n"
                                "comm signal event=0\n"
                                "statistics wait event=0\n"
                                "compute sleep milliseconds=5\n"
                                "compute check-positive | x=input+0:f32[1] ->\n"
                                "compute wait event=0")}});
  session.submit("good", 0);
  session.slot("input", 0)[0] = -1;
  std::array<std::future<bool>, 3> flights{session.begin("bad", 0), session.begin("bad", 1),
                                           session.begin("free", 0)};
  for (auto& flight : flights) {
    const Error error = thrown([&] { flight.get(); });
    CHECK(error.code == "ERR_FAKE" && error.library == "fake");
    CHECK(error.line == 11 && contains(error.text, "check-positive"));
    CHECK(contains(error.what(), "negative\n  program bad, line 11"));
  }
  CHECK(thrown([&] { session.submit("good", 0); }).code == "ERR_FAKE");
  const auto traced = [&](auto done) { session.executor->trace("good", 0, std::move(done)); };
  CHECK(thrown([&] { start<Executor::Trace>(traced).get(); }).code == "ERR_FAKE");
  CHECK(thrown([&] { session.read("temp", 0); }).code == "ERR_FAKE");
}

void disposesInFlight() {
  std::shared_ptr<void> view;
  {
    auto backend = createFakeBackend(false);
    const std::shared_ptr<Communicator> peers = backend->createCommunicator(0, 2, 1);
    Session session(false, {{"peers", peers}});
    session.load(
        program("comm barrier communicator=peers\n"
                "compute affine | x=input+0:f32[1] -> y=output+0:f32[1]"));
    view = session.executor->slot("output", 1);
    auto first = session.begin("p", 0);
    auto second = session.begin("p", 1);
    session.executor->dispose();
    CHECK(thrown([&] { first.get(); }).code == "ERR_DISPOSED");
    CHECK(thrown([&] { second.get(); }).code == "ERR_DISPOSED");
    CHECK(thrown([&] { session.submit("p", 0); }).code == "ERR_DISPOSED");
    session.executor->dispose();
  }
  std::memset(view.get(), 7, 64);
  CHECK(static_cast<uint8_t*>(view.get())[63] == 7);
}

void dropsWithoutDispose() {
  // The last reference goes while work is queued: the executor's own thread then cleans up.
  auto executor = Executor::create(createFakeBackend(false), {});
  const auto worker = executor->worker();
  start([&](Executor::Done done) {
    executor->load({{"p", program("compute sleep milliseconds=5")}}, std::move(done));
  }).get();
  std::promise<void> ended;
  executor->submit("p", 0, [&](std::exception_ptr) { ended.set_value(); });
  executor.reset();
  ended.get_future().get();
  worker->stop();
  CHECK(worker->join(Worker::Clock::now() + std::chrono::seconds(10)));
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"streams, events and slots", [] { runsStreamsAndSlots(false); }},
              {"slots on a device with its own memory", [] { runsStreamsAndSlots(true); }},
              {"several arenas are read at once", readsAtOnce},
              {"programs are recorded and replayed", [] { replaysWhatItRecorded(false); }},
              {"likewise on a device with its own memory", [] { replaysWhatItRecorded(true); }},
              {"each line of what runs is traced", tracesWhatItRuns},
              {"what cannot be recorded runs", runsWhatCannotBeRecorded},
              {"what takes long begins before all is prepared", anticipatesAllLines},
              {"an error ends all streams and submissions", poisonsAfterAnError},
              {"dispose in flight", disposesInFlight},
              {"dropped without dispose", dropsWithoutDispose}});
}
