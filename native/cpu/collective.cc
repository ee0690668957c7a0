// Collectives between processes: a Gloo context over TCP behind the Communicator interface, which
// sums through shared memory where all ranks are on one machine, and the kernels that use one.
#include "../core/collective.h"

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/context.h>
#include <gloo/transport/context.h>
#include <gloo/transport/tcp/address.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "../core/error.h"
#include "../core/progress.h"
#include "kernels.h"
#include "shared-memory.h"

namespace onehour::cpu {
namespace {

using std::chrono::milliseconds;

// Up to this many bytes the number of messages decides (recursive halving), above it the bytes that
// travel (ring).
constexpr size_t kSmallAllReduce = 16 * 1024;

// Gloo waits this many times longer for a connection than for a message.
constexpr int kConnectPatience = 5;

// to[i] += from[i]; addition commutes exactly, so either operand may be the accumulator.
template <typename T>
void accumulate(T* __restrict to, const T* __restrict from, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] += from[i];
}

// Gloo's reduction: `to` is one of the operands or apart from both.
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

// Gloo's messages begin with "[file:line] ".
std::string withoutSource(std::string message) {
  const size_t end = message.find("] ");
  if (!message.empty() && message[0] == '[' && end != std::string::npos) message.erase(0, end + 2);
  return message;
}

class GlooContext final : public gloo::Context {
 public:
  GlooContext(int rank, int size, milliseconds timeout) : gloo::Context(rank, size) {
    gloo::transport::tcp::attr attributes;
    attributes.iface = environment("ONEHOUR_INTERFACE");
    if (attributes.iface.empty()) {
      attributes.hostname = environment("ONEHOUR_HOST");
      if (attributes.hostname.empty()) attributes.hostname = "127.0.0.1";
    }
    device_ = gloo::transport::tcp::CreateDevice(attributes);
    transportContext_ = device_->createContext(rank, size);
    // A pair takes its connection's patience from the timeout at its creation.
    transportContext_->setTimeout(
        std::max<milliseconds>(timeout / kConnectPatience, milliseconds(200)));
    for (int peer = 0; peer < size; ++peer) {
      if (peer != rank) transportContext_->createPair(peer);
    }
    transportContext_->setTimeout(timeout);
    setTimeout(timeout);
  }

  std::vector<char> pairAddress(int peer) const {
    return transportContext_->getPair(peer)->address().bytes();
  }

  // Breaks all connections; blocked and later operations throw. A wait that times out does exactly
  // this to its whole context, and is the one way to it in Gloo's public interface.
  void breakConnections() {
    char byte = 0;
    auto buffer = createUnboundBuffer(&byte, sizeof(byte));
    try {
      buffer->waitRecv(milliseconds(1));
    } catch (const std::exception&) {
    }
  }
};

class GlooCommunicator final : public Communicator {
 public:
  GlooCommunicator(int rank, int size, double timeoutSeconds)
      : rank_(rank),
        size_(size),
        timeout_(static_cast<int64_t>(1000 * std::clamp(timeoutSeconds, 1.0, 3600.0 * 100))) {
    if (size < 1 || rank < 0 || rank >= size) {
      throw Error("ERR_COLLECTIVE", "Gloo",
                  "rank " + std::to_string(rank) + " of " + std::to_string(size) +
                      " does not exist; expected 0 ≤ rank < size");
    }
    if (size == 1) return;
    memory_ = std::make_unique<SharedMemory>(rank, size);
    guarded("opening sockets",
            [&] { context_ = std::make_shared<GlooContext>(rank, size, timeout_); });
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  // The addresses that this rank listens at, one for each other rank, in rank order.
  std::vector<uint8_t> address() const override {
    std::vector<uint8_t> result;
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      const std::vector<char> bytes = context_->pairAddress(peer);
      result.insert(result.end(), bytes.begin(), bytes.end());
    }
    return result;
  }

  void connect(const std::vector<std::vector<uint8_t>>& addresses) override {
    if (size_ == 1) return;
    guarded("connecting to the other ranks", [&] {
      if (addresses.size() != static_cast<size_t>(size_)) {
        throw std::invalid_argument("got the addresses of " + std::to_string(addresses.size()) +
                                    " ranks");
      }
      const size_t width = context_->pairAddress(rank_ == 0 ? 1 : 0).size();
      std::vector<std::vector<char>> theirs(size_);
      for (int peer = 0; peer < size_; ++peer) {
        if (peer == rank_) continue;
        const std::vector<uint8_t>& all = addresses[peer];
        if (all.size() != width * (size_ - 1)) {
          throw std::invalid_argument("the address of rank " + std::to_string(peer) + " has " +
                                      std::to_string(all.size()) + " bytes, expected " +
                                      std::to_string(width * (size_ - 1)) +
                                      "; do all ranks run the same build?");
        }
        const auto begin = all.begin() + width * (rank_ < peer ? rank_ : rank_ - 1);
        theirs[peer].assign(begin, begin + width);
      }
      for (int peer = 0; peer < size_; ++peer) {
        if (peer == rank_) continue;
        peers_.emplace_back(peer, gloo::transport::tcp::Address(theirs[peer]).str());
        context_->getPair(peer)->connect(theirs[peer]);
      }
      connected_ = true;
    });
    shareMemory();
  }

  void allReduce(void* data, size_t count, DataType type) override {
    switch (type) {
      case DataType::f32:
        return reduce<float>(data, count);
      case DataType::i32:
        return reduce<int32_t>(data, count);
      default:
        throw Error("ERR_COLLECTIVE", "Gloo",
                    "all-reduce adds f32 and i32, got " + std::string(nameOf(type)));
    }
  }

  void broadcast(void* data, size_t bytes, int root) override {
    if (root < 0 || root >= size_) {
      throw Error("ERR_COLLECTIVE", "Gloo",
                  "broadcast from rank " + std::to_string(root) +
                      ", but the group has ranks 0 to " + std::to_string(size_ - 1));
    }
    if (size_ == 1 || bytes == 0) return;
    run("broadcast", bytes, [&](uint32_t tag) {
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
      gloo::BarrierOptions options(context_);
      options.setTag(tag);
      gloo::barrier(options);
    });
  }

  void abort() noexcept override {
    try {
      fail("aborted by this process");
      if (sharing_) memory_->leave();
      if (context_) context_->breakConnections();
    } catch (...) {
      // Out of memory for a message: the connections' own timeout ends the wait.
    }
  }

 private:
  // Sums go through shared memory where every rank can map it.
  void shareMemory() {
    std::vector<SharedMemory::Introduction> ranks(size_);
    SharedMemory::Introduction own = memory_->introduction();
    if (!environment("ONEHOUR_SHM_DISABLE").empty()) own.machine = {};
    allGather(&own, ranks.data(), sizeof(own));
    const uint8_t mapped = memory_->map(ranks) ? 1 : 0;
    std::vector<uint8_t> all(size_);
    allGather(&mapped, all.data(), sizeof(mapped));
    sharing_ = std::count(all.begin(), all.end(), 1) == size_;
    if (!sharing_) return memory_.reset();
    // An abort that came before could not tell the others through the memory.
    const std::lock_guard<std::mutex> lock(failureLock_);
    if (!failure_.empty()) memory_->leave();
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

  // One operation at a time, each with the next tag: ranks call in the same order.
  template <typename Body>
  void run(const char* what, size_t bytes, Body body) {
    std::lock_guard<std::mutex> order(order_);
    guarded(bytes == 0 ? what : std::string(what) + " of " + std::to_string(bytes) + " bytes", [&] {
      if (!connected_) throw std::logic_error("the communicator is not connected yet");
      body(tag_++);
    });
  }

  // Runs a blocking operation as one that waits for peers; turns what it throws into an Error, and
  // repeats the first failure for every later call, since Gloo cannot recover its connections.
  template <typename Body>
  void guarded(const std::string& what, Body body) {
    throwIfFailed();
    try {
      progress::WaitingScope waiting;
      body();
    } catch (const std::exception& error) {
      fail(what + " failed: " + withPeers(withoutSource(error.what())) +
           ". The usual cause is a rank that ended or waits elsewhere: look for the first error of "
           "the other ranks");
      if (sharing_) abort();  // the sockets too, on which others may wait for this rank next
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
    throw Error("ERR_COLLECTIVE", "Gloo",
                "rank " + std::to_string(rank_) + " of " + std::to_string(size_) + ": " + failure_);
  }

  // Gloo names a peer by its address, ranks are what a reader knows. An accepted connection has a
  // port that nobody announced: then only the peer of a pair is known.
  std::string withPeers(std::string message) const {
    for (const auto& [peer, address] : peers_) {
      const size_t at = message.find(address);
      if (at == std::string::npos) continue;
      const size_t end = at + address.size();
      if (end < message.size() && message[end] >= '0' && message[end] <= '9') continue;
      message.replace(at, address.size(), "rank " + std::to_string(peer) + " at " + address);
      return message;
    }
    if (peers_.size() == 1 && message.find("rank ") == std::string::npos)
      message += " (rank " + std::to_string(peers_[0].first) + ")";
    return message;
  }

  const int rank_;
  const int size_;
  const milliseconds timeout_;
  std::shared_ptr<GlooContext> context_;
  std::unique_ptr<SharedMemory> memory_;
  std::atomic<bool> sharing_{false};
  std::vector<std::pair<int, std::string>> peers_;
  bool connected_ = false;
  uint32_t tag_ = 0;
  std::mutex order_;
  std::mutex failureLock_;
  std::string failure_;
};

std::unique_ptr<Kernel> prepareAllReduce(const Instruction& instruction, PrepareContext& context) {
  return makeKernel([all = allReduceOf(instruction, context)](Stream&) {
    all.communicator.allReduce(all.data, all.count, all.type);
  });
}

std::unique_ptr<Kernel> prepareAllGather(const Instruction& instruction, PrepareContext& context) {
  return makeKernel([all = allGatherOf(instruction, context)](Stream&) {
    all.communicator.allGather(all.from, all.to, all.bytes);
  });
}

std::unique_ptr<Kernel> prepareBroadcast(const Instruction& instruction, PrepareContext& context) {
  return makeKernel([all = broadcastOf(instruction, context)](Stream&) {
    all.communicator.broadcast(all.data, all.bytes, all.root);
  });
}

}  // namespace

const KernelTable& collectiveKernels() {
  static const KernelTable table{
      {"all-reduce", prepareAllReduce},
      {"all-gather", prepareAllGather},
      {"broadcast", prepareBroadcast},
  };
  return table;
}

std::unique_ptr<Communicator> createGlooCommunicator(int rank, int size, double timeoutSeconds) {
  return std::make_unique<GlooCommunicator>(rank, size, timeoutSeconds);
}

}  // namespace onehour::cpu
