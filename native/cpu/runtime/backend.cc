// The CPU backend: a stream is a thread with a queue, an event a counter, memory is anonymous
// pages.
#include "backend.h"

#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <future>
#include <mutex>
#include <optional>
#include <sstream>
#include <utility>

#include "../../core/error.h"
#include "../../core/progress.h"
#include "../../core/worker.h"
#include "../ops/kernels.h"
#include "../transport/communicator.h"

namespace onehour::cpu {
namespace {

// Waits of streams for events go through one lock: there are a few dozen a step.
struct EventLock {
  std::mutex mutex;
  std::condition_variable changed;
};

class CpuEvent final : public Event {
 public:
  uint64_t generation = 0;   // of the last signal; guarded by EventLock
  std::exception_ptr error;  // of the stream that signalled
};

class CpuMark final : public Mark {
 public:
  Worker::Clock::time_point time;  // written by the stream's thread
};

// One thread. After the first error kernels and copies are skipped, while signals (which carry the
// error on), waits and callbacks still happen, so that nothing waits for ever.
class CpuStream final : public Stream {
 public:
  CpuStream(const std::string& name, int threads, std::shared_ptr<EventLock> lock)
      : lock_(std::move(lock)), worker_(name.substr(0, 15)) {
    worker_.post([threads] { omp_set_num_threads(threads); });
  }

  // Queued kernels that have not begun are skipped.
  ~CpuStream() override {
    {
      std::lock_guard guard(lock_->mutex);
      closed_ = true;
    }
    lock_->changed.notify_all();
    worker_.stop();
    while (!worker_.join(Worker::Clock::now() + std::chrono::hours(1))) {
    }
  }

  void launch(Kernel& kernel) {
    attempt([this, &kernel] {
      const progress::KernelScope running;
      kernel.run(*this);
    });
  }

  void copy(void* to, const void* from, size_t bytes) {
    attempt([=] { std::memcpy(to, from, bytes); });
  }

  void signal(CpuEvent& event, uint64_t generation) {
    worker_.post([this, &event, generation] {
      {
        std::lock_guard guard(lock_->mutex);
        event.generation = std::max(event.generation, generation);
        if (!event.error) event.error = error_;
      }
      lock_->changed.notify_all();
    });
  }

  void wait(CpuEvent& event, uint64_t generation) {
    worker_.post([this, &event, generation] {
      std::unique_lock guard(lock_->mutex);
      lock_->changed.wait(guard, [&] { return closed_ || event.generation >= generation; });
      if (!error_) error_ = event.error;
    });
  }

  void mark(CpuMark& mark) {
    worker_.post([&mark] { mark.time = Worker::Clock::now(); });
  }

  void callback(std::function<void(std::exception_ptr)> done) {
    worker_.post([this, done = std::move(done)] { done(error_); });
  }

 private:
  template <typename Body>
  void attempt(Body body) {
    worker_.post([this, body = std::move(body)] {
      if (error_ || closed()) return;
      try {
        body();
      } catch (...) {
        error_ = std::current_exception();
      }
      progress::advance();
    });
  }

  bool closed() {
    std::lock_guard guard(lock_->mutex);
    return closed_;
  }

  const std::shared_ptr<EventLock> lock_;
  bool closed_ = false;       // guarded by lock_
  std::exception_ptr error_;  // of the thread alone
  Worker worker_;             // last: its thread uses the members above
};

// A number of bytes from a file of the form "key   value [kB]", or from one that is a bare number.
std::optional<size_t> numberIn(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, key.size(), key) != 0) continue;
    std::istringstream words(line.substr(key.size()));
    size_t value = 0;
    std::string unit;
    if (!(words >> value)) return std::nullopt;  // e.g. "max"
    words >> unit;
    return unit == "kB" ? value * 1024 : value;
  }
  return std::nullopt;
}

// What this process may still allocate: the machine's available memory, or less inside a control
// group with a limit.
std::optional<size_t> availableMemory() {
  std::optional<size_t> available = numberIn("/proc/meminfo", "MemAvailable:");
  if (const auto limit = numberIn("/sys/fs/cgroup/memory.max", "")) {
    const size_t used = numberIn("/sys/fs/cgroup/memory.stat", "anon ").value_or(0);
    const size_t left = *limit - std::min(*limit, used);
    available = std::min(available.value_or(left), left);
  }
  return available;
}

std::string processorName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t colon = line.find(':');
    if (line.compare(0, 10, "model name") == 0 && colon != std::string::npos) {
      const size_t start = line.find_first_not_of(' ', colon + 1);
      if (start != std::string::npos) return line.substr(start);
    }
  }
  return "CPU";
}

bool hasFastBf16() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads) {
    properties_.name = processorName();
    properties_.kind = "cpu";
    properties_.threads = threads;
    properties_.memoryBytes =
        static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    properties_.bf16 = hasFastBf16();
    properties_.channelMultiple = 1;
  }

  DeviceProperties properties() const override { return properties_; }

  const KernelTable& kernels() const override { return kernelRegistry().kernels(); }

  std::shared_ptr<void> allocate(size_t bytes, MemoryKind) override {
    constexpr size_t hugePage = size_t{2} << 20;
    const std::optional<size_t> available = availableBytes();
    // Pages are allocated at first touch, when it is too late for an error.
    const bool fits = !available || bytes <= *available;
    void* memory = !fits ? MAP_FAILED
                         : mmap(nullptr, std::max<size_t>(bytes, 64), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw outOfMemory("onehour", bytes, available);
    if (bytes >= hugePage) madvise(memory, bytes, MADV_HUGEPAGE);  // a hint, may fail
    return std::shared_ptr<void>(
        memory, [length = std::max<size_t>(bytes, 64)](void* address) { munmap(address, length); });
  }

  std::optional<size_t> availableBytes() const override { return availableMemory(); }

  std::unique_ptr<Stream> createStream(const std::string& name) override {
    return std::make_unique<CpuStream>(name, name == "compute" ? properties_.threads : 1, lock_);
  }

  std::unique_ptr<Event> createEvent() override { return std::make_unique<CpuEvent>(); }

  void launch(Stream& stream, Kernel& kernel) override { cast(stream).launch(kernel); }

  void signal(Stream& stream, Event& event, uint64_t generation) override {
    cast(stream).signal(static_cast<CpuEvent&>(event), generation);
  }

  void wait(Stream& stream, Event& event, uint64_t generation) override {
    cast(stream).wait(static_cast<CpuEvent&>(event), generation);
  }

  void copy(Stream& stream, void* to, const void* from, size_t bytes) override {
    cast(stream).copy(to, from, bytes);
  }

  void callback(Stream& stream, std::function<void(std::exception_ptr)> done) override {
    cast(stream).callback(std::move(done));
  }

  void synchronize(Stream& stream) override {
    std::promise<void> promise;
    cast(stream).callback([&promise](std::exception_ptr error) {
      if (error) {
        promise.set_exception(error);
      } else {
        promise.set_value();
      }
    });
    promise.get_future().get();
  }

  std::unique_ptr<Mark> createMark() override { return std::make_unique<CpuMark>(); }

  void mark(Stream& stream, Mark& mark) override { cast(stream).mark(static_cast<CpuMark&>(mark)); }

  double milliseconds(const Mark& from, const Mark& to) const override {
    const auto time = static_cast<const CpuMark&>(to).time - static_cast<const CpuMark&>(from).time;
    return std::chrono::duration<double, std::milli>(time).count();
  }

  std::unique_ptr<Communicator> createCommunicator(int rank, int size, double timeoutSeconds, bool,
                                                   const std::string&) override {
    return createHostCommunicator(rank, size, timeoutSeconds);
  }

 private:
  static CpuStream& cast(Stream& stream) { return static_cast<CpuStream&>(stream); }

  DeviceProperties properties_;
  const std::shared_ptr<EventLock> lock_ = std::make_shared<EventLock>();
};

}  // namespace

std::shared_ptr<Backend> createCpuBackend(int threads) {
  if (threads < 1) {
    throw Error("ERR_DEVICE", "onehour",
                "expected at least one thread, got " + std::to_string(threads));
  }
  return std::make_shared<CpuBackend>(threads);
}

}  // namespace onehour::cpu
