// Streams here are as plain as the interface allows; a kernel's exception is a bug of the test.
#include "fake-backend.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <future>
#include <iterator>
#include <map>
#include <mutex>
#include <thread>

#include "../../core/error.h"
#include "../../core/progress.h"
#include "../../core/worker.h"

namespace onehour {
namespace {

struct FakeEvent final : Event {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t generation = 0;
};

struct FakeStream final : Stream {
  explicit FakeStream(const std::string& name) : worker(name) {}
  ~FakeStream() override {
    worker.stop();
    worker.join(Worker::Clock::time_point::max());
  }
  Worker worker;
};

// Ranks that never meet: barrier blocks until abort, the rest works alone.
class FakeCommunicator final : public Communicator {
 public:
  FakeCommunicator(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::vector<uint8_t> address() const override { return {static_cast<uint8_t>(rank_)}; }
  bool connect(const std::vector<std::vector<uint8_t>>&) override { return true; }
  void allReduce(void* data, size_t count, DataType type) override {
    check();
    // As if every rank had the same data.
    if (type == DataType::f32) {
      for (size_t i = 0; i < count; ++i) static_cast<float*>(data)[i] *= static_cast<float>(size_);
    }
  }
  void broadcast(void*, size_t, int) override { check(); }
  void allGather(const void* input, void* output, size_t bytes) override {
    check();
    for (int rank = 0; rank < size_; ++rank) {
      std::memcpy(static_cast<uint8_t*>(output) + bytes * static_cast<size_t>(rank), input, bytes);
    }
  }
  void barrier() override {
    const progress::WaitingScope waiting;
    std::unique_lock lock(mutex_);
    if (size_ > 1) changed_.wait(lock, [this] { return aborted_; });
    lock.unlock();
    check();
  }
  void abort() noexcept override {
    const std::lock_guard lock(mutex_);
    aborted_ = true;
    changed_.notify_all();
  }

 private:
  void check() {
    const std::lock_guard lock(mutex_);
    if (aborted_) throw Error("ERR_COLLECTIVE", "fake", "the communicator was aborted");
  }
  const int rank_;
  const int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool aborted_ = false;
};

// y = a*x + b, elementwise.
std::unique_ptr<Kernel> affine(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const auto a = static_cast<float>(instruction.number("a", 1));
  const auto b = static_cast<float>(instruction.number("b", 0));
  const float* from = x.as<float>();
  float* to = y.as<float>();
  const int64_t count = x.count();
  return makeKernel([=](Stream&) {
    for (int64_t i = 0; i < count; ++i) to[i] = a * from[i] + b;
  });
}

std::unique_ptr<Kernel> sum(const Instruction& instruction, PrepareContext&) {
  const Operand& a = instruction.input("a");
  const float* left = a.as<float>();
  const float* right = instruction.input("b").as<float>();
  float* to = instruction.output("y").as<float>();
  const int64_t count = a.count();
  return makeKernel([=](Stream&) {
    for (int64_t i = 0; i < count; ++i) to[i] = left[i] + right[i];
  });
}

std::unique_ptr<Kernel> sleepFor(const Instruction& instruction, PrepareContext&) {
  const auto time = std::chrono::milliseconds(instruction.integer("milliseconds"));
  return makeKernel([time](Stream&) { std::this_thread::sleep_for(time); });
}

std::unique_ptr<Kernel> failAlways(const Instruction& instruction, PrepareContext&) {
  const std::string word(instruction.word("message"));
  return makeKernel([word](Stream&) { throw Error("ERR_FAKE", "fake", word); });
}

std::unique_ptr<Kernel> throwForeign(const Instruction&, PrepareContext&) {
  return makeKernel([](Stream&) { throw std::runtime_error("foreign"); });
}

// Fails when the first element is negative.
std::unique_ptr<Kernel> checkPositive(const Instruction& instruction, PrepareContext&) {
  const float* x = instruction.input("x").as<float>();
  return makeKernel([x](Stream&) {
    if (x[0] < 0) throw Error("ERR_FAKE", "fake", "negative");
  });
}

// Writes and checks its whole workspace.
std::unique_ptr<Kernel> scratch(const Instruction& instruction, PrepareContext&) {
  const auto bytes = static_cast<size_t>(instruction.integer("bytes"));
  return makeKernel([bytes](Stream& stream) { std::memset(stream.workspace(), 1, bytes); }, bytes);
}

std::unique_ptr<Kernel> barrier(const Instruction& instruction, PrepareContext& context) {
  Communicator& communicator = context.communicator(instruction.word("communicator"));
  return makeKernel([&communicator](Stream&) { communicator.barrier(); });
}

// Lines that were anticipated in a load, with one that refused.
struct Anticipated {
  explicit Anticipated(PrepareContext&) {}
  float lines = 0;
};

void anticipate(const Instruction& instruction, PrepareContext& context) {
  ++context.shared<Anticipated>().lines;
  if (instruction.integer("refuses", 0) != 0) throw Error("ERR_FAKE", "fake", "not known ahead");
}

// Writes how many lines had been anticipated when it was prepared.
std::unique_ptr<Kernel> countAnticipated(const Instruction& instruction, PrepareContext& context) {
  float* const y = instruction.output("y").as<float>();
  return makeKernel([y, lines = context.shared<Anticipated>().lines](Stream&) { *y = lines; });
}

// Where a thread's posts go while it records.
using Jobs = std::vector<std::function<void()>>;
thread_local Jobs* recorded = nullptr;

std::atomic<int> replays{0};

// A mark is the number of marks before it.
std::atomic<int> clock{0};
struct FakeMark final : Mark {
  int time = 0;
};

class FakeBackend final : public Backend {
 public:
  FakeBackend(bool separate, FakeRecording recording)
      : separate_(separate), recording_(recording) {}

  DeviceProperties properties() const override {
    DeviceProperties properties;
    properties.name = "fake";
    properties.kind = "fake";
    properties.threads = 1;
    properties.memoryBytes = size_t{1} << 30;
    return properties;
  }

  const KernelTable& kernels() const override {
    static const auto* table =
        new KernelTable{{"affine", {"x:f32[...] -> x?:f32[...] y:f32[...]", affine}},
                        {"sum", {"a:f32[...] b:f32[...] -> y:f32[...]", sum}},
                        {"sleep", {"->", sleepFor}},
                        {"fail", {"->", failAlways}},
                        {"scratch", {"->", scratch}},
                        {"foreign", {"->", throwForeign}},
                        {"barrier", {"->", barrier}},
                        {"check-positive", {"x:f32[L] ->", checkPositive}},
                        {"anticipated", {"-> y:f32[1]", countAnticipated, 1, anticipate}}};
    return *table;
  }

  std::shared_ptr<void> allocate(size_t bytes, MemoryKind) override {
    const size_t rounded = std::max<size_t>(64, (bytes + 63) / 64 * 64);
    void* memory = std::aligned_alloc(64, rounded);
    if (memory == nullptr) throw Error("ERR_MEMORY", "fake", "out of memory");
    std::memset(memory, 0, rounded);
    const auto ranges = ranges_;
    const std::lock_guard lock(ranges->mutex);
    ranges->ends[memory] = static_cast<uint8_t*>(memory) + rounded;
    return {memory, [ranges](void* freed) {
              const std::lock_guard guard(ranges->mutex);
              ranges->ends.erase(freed);
              std::free(freed);
            }};
  }

  std::unique_ptr<Stream> createStream(const std::string& name) override {
    return std::make_unique<FakeStream>(name);
  }
  std::unique_ptr<Event> createEvent() override { return std::make_unique<FakeEvent>(); }

  void launch(Stream& stream, Kernel& kernel) override {
    post(stream, [&stream, &kernel] {
      {
        const progress::KernelScope running;
        kernel.run(stream);
      }
      progress::advance();
    });
  }
  void signal(Stream& stream, Event& event, uint64_t generation) override {
    post(stream, [&target = static_cast<FakeEvent&>(event), generation] {
      const std::lock_guard lock(target.mutex);
      target.generation = std::max(target.generation, generation);
      target.changed.notify_all();
    });
  }
  void wait(Stream& stream, Event& event, uint64_t generation) override {
    post(stream, [&target = static_cast<FakeEvent&>(event), generation] {
      std::unique_lock lock(target.mutex);
      target.changed.wait(lock, [&] { return target.generation >= generation; });
    });
  }
  void copy(Stream& stream, void* to, const void* from, size_t bytes) override {
    if (separate_ && !ranges_->contain(to)) {
      throw Error("ERR_FAKE", "fake", "a copy to memory that this backend did not allocate");
    }
    post(stream, [=] {
      if (bytes > 0) std::memcpy(to, from, bytes);
    });
  }
  void callback(Stream& stream, std::function<void(std::exception_ptr)> done) override {
    post(stream, [done = std::move(done)] { done(nullptr); });
  }
  void synchronize(Stream& stream) override {
    std::promise<void> promise;
    post(stream, [&promise] { promise.set_value(); });
    promise.get_future().wait();
  }
  std::unique_ptr<Mark> createMark() override { return std::make_unique<FakeMark>(); }
  void mark(Stream& stream, Mark& mark) override {
    post(stream, [&mark] { static_cast<FakeMark&>(mark).time = ++clock; });
  }
  double milliseconds(const Mark& from, const Mark& to) const override {
    return static_cast<const FakeMark&>(to).time - static_cast<const FakeMark&>(from).time;
  }
  std::unique_ptr<Communicator> createCommunicator(int rank, int size, double, bool,
                                                   const std::string&) override {
    return std::make_unique<FakeCommunicator>(rank, size);
  }
  bool hostMemoryIsDeviceMemory() const override { return !separate_; }
  // Replays on the primary stream what was posted to any, in the same order.
  std::unique_ptr<Kernel> record(Stream&, const std::function<void()>& enqueue) override {
    Jobs jobs;
    recorded = &jobs;
    try {
      enqueue();
    } catch (...) {
      recorded = nullptr;
      throw;
    }
    recorded = nullptr;
    if (recording_ == FakeRecording::nothing) return nullptr;
    if (recording_ == FakeRecording::fails) {
      throw Error("ERR_FAKE", "fake", "something cannot be recorded");
    }
    return makeKernel([jobs = std::move(jobs)](Stream&) {
      ++replays;
      for (const auto& job : jobs) job();
    });
  }

 private:
  static void post(Stream& stream, std::function<void()> job) {
    if (recorded != nullptr) {
      recorded->push_back(std::move(job));
    } else {
      static_cast<FakeStream&>(stream).worker.post(std::move(job));
    }
  }

  // Of all memory that was allocated, which may outlive the backend.
  struct Ranges {
    std::mutex mutex;
    std::map<void*, void*> ends;

    bool contain(void* address) {
      const std::lock_guard lock(mutex);
      const auto above = ends.upper_bound(address);
      return above != ends.begin() && address < std::prev(above)->second;
    }
  };
  const std::shared_ptr<Ranges> ranges_ = std::make_shared<Ranges>();
  const bool separate_;
  const FakeRecording recording_;
};

}  // namespace

std::shared_ptr<Backend> createFakeBackend(bool separate, FakeRecording recording) {
  return std::make_shared<FakeBackend>(separate, recording);
}

int fakeReplays() { return replays; }

}  // namespace onehour
