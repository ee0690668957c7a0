// Tests of the core without Node: parser (with a fuzzed set), executor on the fake backend, worker,
// heartbeat.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "../core/executor.h"
#include "../core/heartbeat.h"
#include "../core/program.h"
#include "check.h"
#include "fake-backend.h"

namespace onehour::test {
namespace {

const std::string kExample = R"(onehour-program 1
name last
# a comment

arena param 4096
arena grad 4096
arena input 1024 slots=3
arena output 128 slots=3
arena temp 65536
compute normalize-input mean=0.286 std=3.53e-1 | x=input+0:u8[4,4,4,1] flip=input+64:u8[4] -> y=temp+0:f32[4,4,4,1] # input
compute conv2d stride=1,2 padding=1,1 | x=temp+0:f32[4,4,4,1] w=param+0:f32[16,3,3,1] -> y=temp+1024:f32[4,4,2,16] # conv1
compute sgd segments=100:0.0001,28:0 | w=param+0:f32[128] g=grad+0:f32[128] -> w=param+0:f32[128] finite=output+0:f32[]
compute signal event=3
comm wait event=3
comm all-reduce communicator=gradients | x=grad+0:f32[1000] -> x=grad+0:f32[1000]
statistics signal event=70
)";

std::string program(const std::string& body) {
  return "onehour-program 1\nname p\narena temp 1024\narena param 64\n"
         "arena input 64 slots=2\narena output 64 slots=2\n" +
         body + "\n";
}

void parsesTheExample() {
  const Program parsed = parseProgram(kExample);
  CHECK(parsed.name == "last");
  CHECK(parsed.arenas.size() == 5);
  CHECK(parsed.arenas[2].name == "input" && parsed.arenas[2].slots == 3);
  CHECK(parsed.instructions.size() == 7);
  const Instruction& conv = parsed.instructions[1];
  CHECK(conv.line == 11 && conv.op == "conv2d" && conv.stream == "compute");
  CHECK(contains(conv.text, "# conv1"));
  CHECK((conv.integers("stride") == std::vector<int64_t>{1, 2}));
  CHECK((conv.input("w").shape == std::vector<int64_t>{16, 3, 3, 1}));
  CHECK(conv.output("y").offset == 1024 && conv.output("y").bytes() == 4 * 4 * 2 * 16 * 4);
  CHECK(conv.findInput("b") == nullptr);
  CHECK(conv.integer("groups", 1) == 1);
  CHECK(parsed.instructions[0].number("std") == 0.353);
  CHECK(parsed.instructions[0].input("x").type == DataType::u8);
  CHECK(parsed.instructions[2].word("segments") == "100:0.0001,28:0");
  CHECK(parsed.instructions[2].output("finite").shape.empty());
  CHECK(parsed.instructions[2].output("finite").count() == 1);

  CHECK(contains(thrown([&] { conv.input("bias"); }).what(), "input bias is missing"));
  CHECK(thrown([&] { conv.integer("stride"); }).line == 11);
  CHECK(thrown([&] { conv.number("missing"); }).code == "ERR_PROGRAM");
  const Program odd =
      parseProgram(program("compute x a=nan b=1e999 c=0x10 d=1, e=9223372036854775808"));
  for (const char* key : {"a", "b", "c"}) thrown([&] { odd.instructions[0].number(key); });
  thrown([&] { odd.instructions[0].integers("d"); });
  thrown([&] { odd.instructions[0].integer("e"); });
}

void refusesWithTheLine() {
  struct Bad {
    const char* text;  // of line 7
    const char* part;  // of the message
  };
  const std::array<Bad, 40> table{{
      {"gpu conv2d", "unknown stream"},
      {"compute", "expected an operation"},
      {"compute  conv2d", "single spaces"},
      {"compute conv2d ", "single spaces"},
      {" compute conv2d", "single spaces"},
      {"compute\tconv2d", "control character"},
      {"compute conv2d stride", "expected key=value"},
      {"compute conv2d =1", "expected key=value"},
      {"compute conv2d stride=", "expected key=value"},
      {"compute conv2d a=1 a=2", "second attribute"},
      {"compute add | x=temp+0:f32[4]", "expected \"->\""},
      {"compute add | x=temp+0:f32[4 -> ", "single spaces"},
      {"compute add | x=temp+0:f32[4 ->", "expected an operand"},
      {"compute add | x=temp:f32[4] ->", "expected an operand"},
      {"compute add | temp+0:f32[4] ->", "expected an operand"},
      {"compute add | x=heap+0:f32[4] ->", "was not declared"},
      {"compute add | x=grad+0:f32[4] ->", "was not declared"},
      {"compute add | x=temp+0:f64[4] ->", "unknown dtype"},
      {"compute add | x=temp+2:f32[4] ->", "not a multiple of 4"},
      {"compute add | x=temp+1:bf16[4] ->", "not a multiple of 2"},
      {"compute add | x=temp+-4:f32[4] ->", "malformed offset"},
      {"compute add | x=temp+00:f32[4] ->", "malformed offset"},
      {"compute add | x=temp+99999999999999999999:f32[4] ->", "malformed offset"},
      {"compute add | x=temp+0:f32[257] ->", "ends at byte 1028"},
      {"compute add | x=temp+1024:f32[1] ->", "ends at byte 1028"},
      {"compute add | x=temp+0:f32[4,0] ->", "a dimension is"},
      {"compute add | x=temp+0:f32[-1] ->", "a dimension is"},
      {"compute add | x=temp+0:f32[4,] ->", "a dimension is"},
      {"compute add | x=temp+0:f32[1099511627776,1099511627776] ->", "larger than any arena"},
      {"compute add | x=temp+0:f32[1,1,1,1,1,1,1,1,1] ->", "more than 8"},
      {"compute add | x=temp+0:f32[4] x=temp+0:f32[4] ->", "second operand"},
      {"compute add | x=temp+0:f32[4] -> x=temp+64:f32[4]", "not the same tensor"},
      {"compute signal", "expected \"signal event"},
      {"compute signal event=65536", "an event is a number"},
      {"compute wait event=1", "no earlier line signals"},
      {"arena state 99999999999999999", "bytes of an arena"},
      {"arena state 64 slots=2", "only the arenas input and output"},
      {"arena temp 64", "a second arena"},
      {"arena heap 64", "unknown arena"},
      {"name q", "a second name"},
  }};
  for (const Bad& bad : table) {
    const Error error = thrown([&] { parseProgram(program(bad.text)); });
    CHECK(error.code == "ERR_PROGRAM");
    if (error.line != 7 || !contains(error.what(), bad.part)) {
      std::fprintf(stderr, "line \"%s\" gave: %s\n", bad.text, error.what());
      CHECK(error.line == 7);
    }
  }
  CHECK(contains(thrown([] { parseProgram(""); }).what(), "empty"));
  CHECK(contains(thrown([] { parseProgram("onehour-program 2\n"); }).what(), "header"));
  CHECK(contains(thrown([] { parseProgram("onehour-program 1\n"); }).what(), "no name"));
  CHECK(contains(thrown([] {
                   parseProgram(program("compute signal event=1\ncompute signal event=1"));
                 }).what(),
                 "twice"));
}

// A small counter-based generator, the same on every machine.
struct Random {
  uint64_t state;
  uint64_t next() {
    state += 0x9e3779b97f4a7c15ull;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }
};

std::string mutate(std::string text, Random& random) {
  static const std::array<const char*, 24> kSnippets{"0",
                                                     "-1",
                                                     "18446744073709551615",
                                                     "9223372036854775807",
                                                     "1099511627776",
                                                     "[",
                                                     "]",
                                                     "|",
                                                     "->",
                                                     "=",
                                                     "+",
                                                     ":",
                                                     ",",
                                                     " ",
                                                     "\n",
                                                     "#",
                                                     "\r",
                                                     "f32",
                                                     "input",
                                                     "slots=64",
                                                     "event=3",
                                                     "temp+0:f32[1]",
                                                     "compute",
                                                     "\xff\xfe"};
  const size_t rounds = 1 + random.below(4);
  for (size_t round = 0; round < rounds && !text.empty(); ++round) {
    const size_t position = random.below(text.size());
    switch (random.below(7)) {
      case 0:
        text[position] = static_cast<char>(random.below(256));
        break;
      case 1:
        text.erase(position, 1 + random.below(12));
        break;
      case 2:
        text.insert(position, kSnippets[random.below(kSnippets.size())]);
        break;
      case 3:
        text.replace(position, 1, kSnippets[random.below(kSnippets.size())]);
        break;
      case 4:  // a number becomes another
        for (size_t i = position; i < text.size(); ++i) {
          if (text[i] < '0' || text[i] > '9') continue;
          text.replace(i, 1, std::to_string(random.next() >> random.below(64)));
          break;
        }
        break;
      case 5:  // a piece appears twice
        text.insert(position, text.substr(random.below(text.size()), random.below(200)));
        break;
      default:
        text.resize(position);
        break;
    }
  }
  return text;
}

void survivesFuzzing() {
  Random random{2017};
  int refused = 0;
  int accepted = 0;
  for (int round = 0; round < 5000; ++round) {
    const std::string text = mutate(kExample, random);
    const auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
    try {
      const Program parsed = parseProgram(text);
      ++accepted;
      for (const Instruction& instruction : parsed.instructions) {
        for (const auto* side : {&instruction.inputs, &instruction.outputs}) {
          for (const Operand& operand : *side) {
            const auto arena =
                std::find_if(parsed.arenas.begin(), parsed.arenas.end(),
                             [&](const Arena& a) { return a.name == operand.arena; });
            CHECK(arena != parsed.arenas.end());
            CHECK(operand.offset + operand.bytes() <= arena->bytes);
          }
        }
      }
    } catch (const Error& error) {
      ++refused;
      CHECK(error.code == "ERR_PROGRAM");
      CHECK(error.line >= 1 && error.line <= lines);
      CHECK(contains(error.what(), error.text));
    }
  }
  CHECK(refused > 2000);
  CHECK(accepted > 200);
}

// ------------------------------------------------------------------------------------- executor

// Disposes at the end of a test and waits until everything was freed.
struct Session {
  explicit Session(bool separate = false, Executor::Communicators communicators = {})
      : backend(createFakeBackend(separate)),
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
  CHECK(contains(received, ",\"waiting\":0}\n"));
  close(ends[0]);  // the thread ends by itself; SIGPIPE would end the process
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"the example parses", parsesTheExample},
              {"malformed lines are refused and quoted", refusesWithTheLine},
              {"5,000 mutated programs parse or are refused", survivesFuzzing},
              {"streams, events and slots", [] { runsStreamsAndSlots(false); }},
              {"slots on a device with its own memory", [] { runsStreamsAndSlots(true); }},
              {"arenas are written and read in order", copiesArenas},
              {"wrong use is refused", refusesWrongUse},
              {"unloadable programs are refused", refusesAtLoad},
              {"an error ends all streams and submissions", poisonsAfterAnError},
              {"foreign exceptions", reportsForeignExceptions},
              {"dispose in flight", disposesInFlight},
              {"dropped without dispose", dropsWithoutDispose},
              {"a worker's end has a deadline", joinsWithADeadline},
              {"heartbeat", beats}});
}
