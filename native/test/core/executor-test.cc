// Tests of the executor on the fake backend.
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
#include "../fakes/fake-backend.h"
#include "../programs.h"

namespace onehour::test {
namespace {

// Disposes at the end of a test and waits until everything was freed.
struct Session {
  explicit Session(bool separate = false, Executor::Communicators communicators = {},
                   FakeRecording recording = FakeRecording::replays)
      : backend(createFakeBackend(separate, recording)),
        executor(Executor::create(backend, std::move(communicators))) {}
  ~Session() {
    executor->dispose();
    CHECK(executor->worker()->join(Worker::Clock::now() + std::chrono::seconds(10)));
  }

  void load(const std::string& text) { load({{"p", text}}); }
  void load(std::vector<ProgramText> texts) {
    await([&](Executor::Done done) { executor->load(std::move(texts), std::move(done)); });
  }
  void submit(const std::string& name, int slot) {
    await([&](Executor::Done done) { executor->submit(name, slot, std::move(done)); });
  }
  std::future<void> begin(const std::string& name, int slot) {
    return start([&](Executor::Done done) { executor->submit(name, slot, std::move(done)); });
  }
  // Why nothing is replayed.
  std::string record() {
    std::string why;
    await([&](Executor::Done done) {
      executor->record([&why, done](std::exception_ptr error, const std::string& reason) {
        why = reason;
        done(std::move(error));
      });
    });
    return why;
  }
  std::vector<Executor::Timing> measure(const std::string& name, int slot, int repeats) {
    std::vector<Executor::Timing> result;
    await([&](Executor::Done done) {
      executor->measure(name, slot, repeats,
                        [&result, done](std::exception_ptr error, auto timings) {
                          result = std::move(timings);
                          done(std::move(error));
                        });
    });
    return result;
  }
  float* slot(const char* arena, int index) {
    return static_cast<float*>(executor->slot(arena, index).get());
  }
  std::vector<float> read(const std::string& arena, size_t offset, size_t count) {
    std::promise<std::vector<uint8_t>> promise;
    executor->read(arena, offset, count * 4,
                   [&](std::exception_ptr error, std::vector<uint8_t> bytes) {
                     if (error) {
                       promise.set_exception(error);
                     } else {
                       promise.set_value(std::move(bytes));
                     }
                   });
    const std::vector<uint8_t> bytes = promise.get_future().get();
    std::vector<float> values(count);
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  template <typename Start>
  static std::future<void> start(Start begin) {
    const auto promise = std::make_shared<std::promise<void>>();
    begin([promise](std::exception_ptr error) {
      if (error) {
        promise->set_exception(error);
      } else {
        promise->set_value();
      }
    });
    return promise->get_future();
  }
  template <typename Start>
  static void await(Start begin) {
    start(begin).get();
  }

  std::shared_ptr<Backend> backend;
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
  std::array<std::future<void>, 2> flights;
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
  CHECK(session.read("param", 0, 1)[0] == 200);
}

void copiesArenas() {
  Session session(true);
  session.load(program("compute affine b=1 | x=param+0:f32[2] -> y=param+8:f32[2]"));
  std::vector<uint8_t> bytes(8);
  const std::array<float, 2> values{1.5F, -2};
  std::memcpy(bytes.data(), values.data(), 8);
  auto first = Session::start(
      [&](Executor::Done done) { session.executor->write("param", 0, bytes, std::move(done)); });
  auto second = session.begin("p", 0);
  CHECK((session.read("param", 0, 4) == std::vector<float>{1.5F, -2, 2.5F, -1}));
  first.get();
  second.get();
  CHECK(session.read("param", 64, 0).empty());
  const auto refused = [&](const std::string& arena, size_t offset, size_t length) {
    return thrown([&] { session.executor->read(arena, offset, length, {}); }).code;
  };
  CHECK(refused("param", 60, 8) == "ERR_USAGE");
  CHECK(refused("param", SIZE_MAX, 2) == "ERR_USAGE");
  CHECK(refused("nothing", 0, 1) == "ERR_USAGE");
  CHECK(refused("input", 0, 1) == "ERR_USAGE");
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
    CHECK(session.read("param", 0, 1)[0] == static_cast<float>(from + 10));
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
  Session::await([&](Executor::Done done) { session.executor->forget(std::move(done)); });
  steps(30);
  CHECK(fakeReplays() == before + 22);
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

void measuresEachKernel() {
  Session session;
  session.load(
      {{"p", kThreeStreams}, {"bad", program("compute check-positive | x=input+0:f32[1] ->")}});
  const auto timings = session.measure("p", 1, 3);
  std::vector<int> lines;
  for (const auto& [line, milliseconds] : timings) {
    lines.push_back(line);
    CHECK((milliseconds == std::vector<double>{1, 1, 1}));  // no mark between those of a kernel
  }
  CHECK((lines == std::vector<int>{7, 10, 11, 14, 18, 19, 20}));
  CHECK(session.read("param", 0, 1)[0] == 3);
  CHECK(contains(thrown([&] { session.measure("c", 0, 1); }).what(), "no program \"c\""));
  CHECK(contains(thrown([&] { session.measure("p", 2, 1); }).what(), "slot 2"));
  session.slot("input", 0)[0] = -1;
  CHECK(thrown([&] { session.measure("bad", 0, 1); }).code == "ERR_FAKE");
}

// Memory for it is kept, so two at once have one each, and later ones none of their own.
void readsAtOnce() {
  Session session(true);
  session.load(program("compute affine b=1 | x=param+0:f32[8] -> y=param+0:f32[8]"));
  for (float round = 1; round < 4; ++round) {
    std::array<std::future<void>, 3> flights;
    std::array<std::vector<uint8_t>, 3> bytes;
    session.submit("p", 0);
    for (size_t i = 0; i < flights.size(); ++i) {
      flights[i] = Session::start([&](Executor::Done done) {
        session.executor->read("param", 4 * i, 4 * (i + 1),
                               [&, i, done](std::exception_ptr error, std::vector<uint8_t> read) {
                                 bytes[i] = std::move(read);
                                 done(std::move(error));
                               });
      });
    }
    for (size_t i = 0; i < flights.size(); ++i) {
      flights[i].get();
      const std::vector<float> expected(i + 1, round);
      CHECK(bytes[i].size() == 4 * (i + 1) &&
            std::memcmp(bytes[i].data(), expected.data(), bytes[i].size()) == 0);
    }
  }
}

void refusesWrongUse() {
  Session session;
  session.load({{"a", kThreeStreams}, {"b", program("compute sleep milliseconds=30")}});
  const auto usage = [&](const std::string& name, int slot) {
    return std::string(thrown([&] { session.executor->submit(name, slot, {}); }).what());
  };
  CHECK(contains(usage("c", 0), "expected one of: a, b"));
  CHECK(contains(usage("a", 2), "slot 2 of 2"));
  CHECK(contains(usage("a", -1), "slot -1"));
  auto slow = session.begin("b", 0);  // touches no slot
  auto first = session.begin("a", 0);
  CHECK(contains(usage("a", 0), "still in flight"));
  auto again = session.begin("b", 0);
  slow.get();
  first.get();
  again.get();
}

void refusesAtLoad() {
  struct Bad {
    const char* line;
    const char* code;
  };
  for (const Bad& bad :
       {Bad{"compute nothing", "ERR_KERNEL"}, Bad{"comm barrier communicator=c", "ERR_COLLECTIVE"},
        Bad{"compute affine | x=temp+0:f32[4] -> y=temp+0:f32[2]", "ERR_SHAPE"},
        Bad{"compute affine | -> y=temp+0:f32[2]", "ERR_PROGRAM"},
        Bad{"what is this", "ERR_PROGRAM"}}) {
    Session session;
    const Error error = thrown([&] { session.load(program(bad.line)); });
    CHECK(error.code == bad.code);
    CHECK(error.line == 7);
    CHECK(contains(error.what(), bad.line));
    CHECK(contains(error.what(), "program p"));
  }
  // The fake device has 1 GiB: each arena fits, and so does the workspace, but not all together.
  for (const char* lines : {"arena temp 600000000\narena param 600000000\n",
                            "arena temp 600000000\ncompute scratch bytes=600000000\n"}) {
    Session big;
    const Error error =
        thrown([&] { big.load(std::string("onehour-program 1\nname p\n") + lines); });
    CHECK(error.code == "ERR_MEMORY");
    CHECK(contains(error.what(), "1200 MB") && contains(error.what(), "1074 MB"));
  }
  Session twice;
  CHECK(thrown([&] {
          twice.load({{"a", kThreeStreams}, {"a", kThreeStreams}});
        }).code == "ERR_PROGRAM");
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
  std::array<std::future<void>, 3> flights{session.begin("bad", 0), session.begin("bad", 1),
                                           session.begin("free", 0)};
  for (auto& flight : flights) {
    const Error error = thrown([&] { flight.get(); });
    CHECK(error.code == "ERR_FAKE" && error.library == "fake");
    CHECK(error.line == 11 && contains(error.text, "check-positive"));
    CHECK(contains(error.what(), "negative\n  program bad, line 11"));
  }
  CHECK(thrown([&] { session.submit("good", 0); }).code == "ERR_FAKE");
  CHECK(thrown([&] { session.read("temp", 0, 1); }).code == "ERR_FAKE");
}

void reportsForeignExceptions() {
  Session session;
  session.load(program("statistics foreign"));
  const Error error = thrown([&] { session.submit("p", 0); });
  CHECK(error.code == "ERR_NATIVE" && error.line == 7);
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
  std::promise<void> loaded;
  executor->load({{"p", program("compute sleep milliseconds=5")}},
                 [&](std::exception_ptr) { loaded.set_value(); });
  loaded.get_future().get();
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
              {"arenas are written and read in order", copiesArenas},
              {"several arenas are read at once", readsAtOnce},
              {"programs are recorded and replayed", [] { replaysWhatItRecorded(false); }},
              {"likewise on a device with its own memory", [] { replaysWhatItRecorded(true); }},
              {"what cannot be recorded runs", runsWhatCannotBeRecorded},
              {"each kernel is measured", measuresEachKernel},
              {"wrong use is refused", refusesWrongUse},
              {"unloadable programs are refused", refusesAtLoad},
              {"an error ends all streams and submissions", poisonsAfterAnError},
              {"foreign exceptions", reportsForeignExceptions},
              {"dispose in flight", disposesInFlight},
              {"dropped without dispose", dropsWithoutDispose}});
}
