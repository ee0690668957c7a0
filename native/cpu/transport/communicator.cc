#include "communicator.h"

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "../../core/communicator-rules.h"
#include "../../core/error.h"
#include "../../core/progress.h"
#include "../../core/words.h"
#include "gloo-context.h"
#include "links.h"
#include "shared-memory.h"

namespace onehour::cpu {
namespace {

using std::chrono::milliseconds;

// Up to this many bytes the time depends on the number of messages (recursive halving has the
// fewest), above it on the bytes that travel (a ring has the fewest).
constexpr size_t kSmallAllReduce = 16 * 1024;

// All ranks are there when they connect, so more is not needed; and by default this names who
// cannot be reached before whoever watches calls it a hang (60 s).
constexpr std::chrono::seconds kConnecting{45};

// to[i] += from[i]; addition commutes exactly, so either operand may be the accumulator.
template <typename T>
void accumulate(T* __restrict to, const T* __restrict from, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] += from[i];
}

// Gloo's reduction: `to` is one of the operands, or overlaps neither.
template <typename T>
void sum(void* to, const void* left, const void* right, size_t count) {
  T* c = static_cast<T*>(to);
  const T* a = static_cast<const T*>(left);
  const T* b = static_cast<const T*>(right);
  if (to == right) return accumulate(c, a, count);
  if (to != left) std::memcpy(to, left, count * sizeof(T));
  accumulate(c, b, count);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// How long a peer's machine may not answer, as connect() in lib/ranks sets it.
milliseconds quietTime() {
  const std::string seconds = environment("ONEHOUR_QUIET_SECONDS");
  const double value = seconds.empty() ? 60 : std::strtod(seconds.c_str(), nullptr);
  return milliseconds(static_cast<int64_t>(1000 * boundedTimeout(value)));
}

// Errors of Gloo's own begin with "[file:line] ".
std::string withoutSource(std::string message) {
  const size_t end = message.find("] ");
  if (!message.empty() && message[0] == '[' && end != std::string::npos) message.erase(0, end + 2);
  return message;
}

// The first message of a rank to the others.
struct Introduction {
  SharedMemory::Introduction memory;
  Links::Introduction links;
};

template <typename T>
std::vector<uint8_t> bytesOf(const T& value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  return {from, from + sizeof(value)};
}

// The messages of all ranks, each a value of one type.
template <typename T>
std::vector<T> valuesOf(const std::vector<std::vector<uint8_t>>& messages) {
  std::vector<T> result(messages.size());
  for (size_t rank = 0; rank < messages.size(); ++rank)
    std::memcpy(static_cast<void*>(&result[rank]), messages[rank].data(), sizeof(T));
  return result;
}

class HostCommunicator final : public Communicator {
 public:
  HostCommunicator(int rank, int size, double timeoutSeconds)
      : rank_(rank),
        size_(size),
        timeout_(static_cast<int64_t>(1000 * boundedTimeout(timeoutSeconds))) {
    expectRank("onehour", rank, size);
    if (size == 1) return;
    guarded("opening connections to other ranks", [&] {
      memory_ = std::make_unique<SharedMemory>(rank, size);
      links_ = std::make_unique<Links>(rank, size, quietTime());
    });
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::vector<uint8_t> address() const override {
    if (size_ == 1) return {};
    switch (stage_) {
      case Stage::nothing: {
        Introduction own{memory_->introduction(), links_->introduction()};
        if (!environment("ONEHOUR_SHM_DISABLE").empty()) own.memory.machine = {};
        return bytesOf(own);
      }
      case Stage::memory:
        return bytesOf(static_cast<uint8_t>(mapped_));
      case Stage::sockets:
        return bytesOf(links_->place());
      case Stage::connected:
        break;
    }
    return {};
  }

  // The ranks introduce themselves, then say whether they could map rank 0's memory; where one
  // could not, they say where they listen.
  bool connect(const std::vector<std::vector<uint8_t>>& messages) override {
    if (size_ == 1) return true;
    guarded("connecting to the other ranks", [&] {
      if (messages.size() != static_cast<size_t>(size_)) {
        throw std::invalid_argument("got the addresses of " + counted(messages.size(), "rank"));
      }
      const size_t width = address().size();
      for (int peer = 0; peer < size_; ++peer) {
        if (messages[peer].size() == width) continue;
        throw std::invalid_argument("the address of rank " + std::to_string(peer) + " has " +
                                    counted(messages[peer].size(), "byte") + ", expected " +
                                    std::to_string(width) + "; do all ranks run the same build?");
      }
      proceed(messages);
    });
    return stage_ == Stage::connected;
  }

  std::string linkTo(int peer) const override {
    if (stage_ != Stage::connected || size_ == 1) return {};
    return sharing_ ? "shared memory" : links_->way(peer);
  }

  void allReduce(void* data, size_t count, DataType type) override {
    switch (type) {
      case DataType::f32:
        return reduce<float>(data, count);
      case DataType::i32:
        return reduce<int32_t>(data, count);
      default:
        refuseAllReduce("onehour", type);
    }
  }

  void broadcast(void* data, size_t bytes, int root) override {
    expectRoot("onehour", root, size_);
    if (size_ == 1 || bytes == 0) return;
    run("broadcast", bytes, [&](uint32_t tag) {
      if (sharing_) return memory_->broadcast(data, bytes, root, timeout_);
      gloo::BroadcastOptions options(context_);
      options.setOutput(static_cast<uint8_t*>(data), bytes);
      options.setRoot(root);
      options.setTag(tag);
      gloo::broadcast(options);
    });
  }

  void allGather(const void* input, void* output, size_t bytes) override {
    if (bytes == 0) return;
    if (size_ == 1) {
      if (input != output) std::memcpy(output, input, bytes);
      return;
    }
    run("all-gather", bytes * size_, [&](uint32_t tag) {
      if (sharing_) return memory_->allGather(input, output, bytes, timeout_);
      gloo::AllgatherOptions options(context_);
      // Gloo only reads its input.
      options.setInput(static_cast<uint8_t*>(const_cast<void*>(input)), bytes);
      options.setOutput(static_cast<uint8_t*>(output), bytes * size_);
      options.setTag(tag);
      gloo::allgather(options);
    });
  }

  void barrier() override {
    if (size_ == 1) return;
    run("barrier", 0, [&](uint32_t tag) {
      if (sharing_) return memory_->barrier(timeout_);
      gloo::BarrierOptions options(context_);
      options.setTag(tag);
      gloo::barrier(options);
    });
  }

  void abort() noexcept override {
    try {
      fail("aborted by this process");
      leave();
    } catch (...) {
      // Out of memory for a message: the wait's own timeout ends it.
    }
  }

 private:
  // What the ranks know of each other so far.
  enum class Stage { nothing, memory, sockets, connected };

  void proceed(const std::vector<std::vector<uint8_t>>& messages) {
    switch (stage_) {
      case Stage::nothing: {
        introductions_ = valuesOf<Introduction>(messages);
        std::vector<SharedMemory::Introduction> ranks;
        for (const Introduction& one : introductions_) ranks.push_back(one.memory);
        mapped_ = memory_->map(ranks);
        stage_ = Stage::memory;
        return;
      }
      case Stage::memory: {
        sharing_ = std::all_of(messages.begin(), messages.end(),
                               [](const auto& one) { return one[0] == 1; });
        if (sharing_) {
          stage_ = Stage::connected;
          // An abort before this point could not reach the others through the memory.
          const std::lock_guard<std::mutex> lock(failureLock_);
          if (!failure_.empty()) memory_->leave();
          return;
        }
        memory_.reset();
        std::vector<Links::Introduction> ranks;
        for (const Introduction& one : introductions_) ranks.push_back(one.links);
        links_->listen(ranks);
        stage_ = Stage::sockets;
        return;
      }
      case Stage::sockets:
        links_->connect(valuesOf<Links::Place>(messages),
                        Links::Clock::now() + std::min<milliseconds>(timeout_, kConnecting));
        context_ = std::make_shared<GlooContext>(rank_, size_, *links_, timeout_);
        stage_ = Stage::connected;
        return;
      case Stage::connected:
        throw std::logic_error("the communicator is connected already");
    }
  }

  // Ends the others' waits for this rank, and its own.
  void leave() noexcept {
    if (sharing_) memory_->leave();
    if (links_) links_->shut();
  }

  template <typename T>
  void reduce(void* data, size_t count) {
    if (size_ == 1 || count == 0) return;
    run("all-reduce", count * sizeof(T), [&](uint32_t tag) {
      if (sharing_) return memory_->allReduce(static_cast<T*>(data), count, timeout_);
      gloo::AllreduceOptions options(context_);
      options.setOutput(static_cast<T*>(data), count);
      options.setReduceFunction(sum<T>);
      options.setAlgorithm(count * sizeof(T) <= kSmallAllReduce
                               ? gloo::AllreduceOptions::Algorithm::BCUBE
                               : gloo::AllreduceOptions::Algorithm::RING);
      options.setTag(tag);
      gloo::allreduce(options);
    });
  }

  // Runs one operation at a time, each with the next tag: all ranks call in the same order.
  template <typename Body>
  void run(const char* what, size_t bytes, Body body) {
    std::lock_guard<std::mutex> order(order_);
    guarded(bytes == 0 ? what : std::string(what) + " of " + counted(bytes, "byte"), [&] {
      if (stage_ != Stage::connected)
        throw std::logic_error("the communicator is not connected yet");
      body(tag_++);
    });
  }

  // Runs a blocking operation as one that waits for peers; turns what it throws into an Error, and
  // repeats the first failure for every later call: what was on its way is lost.
  template <typename Body>
  void guarded(const std::string& what, Body body) {
    throwIfFailed();
    try {
      progress::WaitingScope waiting;
      body();
    } catch (const std::exception& error) {
      fail(what + " failed: " + withoutSource(error.what()) + kPeerHint);
      leave();  // others may wait for this rank in what comes next
      throwIfFailed();
    }
  }

  void fail(const std::string& reason) {
    std::lock_guard<std::mutex> lock(failureLock_);
    if (failure_.empty()) failure_ = reason;
  }

  void throwIfFailed() {
    std::lock_guard<std::mutex> lock(failureLock_);
    if (failure_.empty()) return;
    throw Error("ERR_COLLECTIVE", "onehour", ofRank(rank_, size_, failure_));
  }

  const int rank_;
  const int size_;
  const milliseconds timeout_;
  std::vector<Introduction> introductions_;
  std::unique_ptr<SharedMemory> memory_;
  std::unique_ptr<Links> links_;
  std::shared_ptr<GlooContext> context_;
  Stage stage_ = Stage::nothing;
  bool mapped_ = false;  // by this rank
  std::atomic<bool> sharing_{false};
  uint32_t tag_ = 0;
  std::mutex order_;
  std::mutex failureLock_;
  std::string failure_;
};

}  // namespace

std::unique_ptr<Communicator> createHostCommunicator(int rank, int size, double timeoutSeconds) {
  return std::make_unique<HostCommunicator>(rank, size, timeoutSeconds);
}

}  // namespace onehour::cpu
