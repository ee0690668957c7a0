// Waits for the device on a thread of its own, by polling: a blocked thread could neither notice a
// peer's end nor give up.
#include "watch.h"

#include <chrono>
#include <future>
#include <string>

#include "../../core/progress.h"

namespace onehour::cuda {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;

// A step takes milliseconds: the thread looks this often, and at peers less often.
constexpr microseconds pollInterval{50};
constexpr milliseconds peerInterval{20};
// Work that takes longer than this on a device with peers is taken for waiting for one of them.
constexpr milliseconds patience{1000};
// What aborted collectives are given to leave the device.
constexpr milliseconds graceAfterAbort{2000};

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Watch::Watch(int ordinal, const volatile Fault* fault)
    : ordinal_(ordinal), fault_(fault), thread_([this] { run(); }) {}

Watch::~Watch() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watch::add(std::weak_ptr<Peers> peers) {
  const std::lock_guard lock(mutex_);
  peers_.push_back(std::move(peers));
}

void Watch::follow(cudaStream_t stream, std::function<void(std::exception_ptr)> done) {
  Item item{{}, std::move(done)};
  ONEHOUR_CUDA(cudaEventCreateWithFlags(item.end.out(), cudaEventDisableTiming));
  ONEHOUR_CUDA(cudaEventRecord(item.end.get(), stream));
  {
    const std::lock_guard lock(mutex_);
    items_.push_back(std::move(item));
  }
  changed_.notify_all();
}

void Watch::wait(cudaStream_t stream) {
  std::promise<void> promise;
  follow(stream, [&promise](std::exception_ptr error) {
    if (error) {
      promise.set_exception(error);
    } else {
      promise.set_value();
    }
  });
  promise.get_future().get();
}

void Watch::run() {
  cudaSetDevice(ordinal_);  // fails only where every call of this thread will
  while (true) {
    Item item;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closed_ || !items_.empty(); });
      if (items_.empty()) return;
      item = std::move(items_.front());
      items_.pop_front();
    }
    const std::exception_ptr error = outcome(item.end.get());
    progress::advance();
    item.done(error);
  }
}

// Null when the event has come, else why it has not or what was wrong on the way.
std::exception_ptr Watch::outcome(cudaEvent_t end) {
  const Clock::time_point start = Clock::now();
  Clock::time_point nextLook = start + peerInterval;
  std::optional<Clock::time_point> aborted;
  std::optional<progress::WaitingScope> waiting;
  std::exception_ptr error;
  while (true) {
    const cudaError_t status = cudaEventQuery(end);
    if (status == cudaSuccess) break;
    if (status != cudaErrorNotReady) {
      try {
        throwCudaError(status, "a kernel or a copy on the device");
      } catch (...) {
        return error ? error : std::current_exception();
      }
    }
    const Clock::time_point now = Clock::now();
    if (aborted) {
      if (now - *aborted > graceAfterAbort) return error;
    } else if (now >= nextLook) {
      nextLook = now + peerInterval;
      if (const auto fault = peerFault(secondsSince(start))) {
        error = std::make_exception_ptr(*fault);
        aborted = now;
        abortPeers();
      } else if (!waiting && now - start > patience && !livingPeers().empty()) {
        waiting.emplace();
      }
    }
    std::this_thread::sleep_for(pollInterval);
  }
  if (error) return error;
  if (const auto fault = noted()) return std::make_exception_ptr(*fault);
  if (const auto fault = peerFault(0)) return std::make_exception_ptr(*fault);
  return nullptr;
}

std::optional<Error> Watch::noted() const {
  if (fault_->kind != Fault::label) return std::nullopt;
  return Error("ERR_KERNEL", "onehour",
               "[softmax-cross-entropy] expected labels from 0 to " +
                   std::to_string(fault_->allowed - 1) + " (or -1 for none), got " +
                   std::to_string(fault_->value) + " at image " + std::to_string(fault_->place) +
                   "; check the data set's number of classes");
}

std::optional<Error> Watch::peerFault(double pendingSeconds) {
  for (const auto& peers : livingPeers()) {
    if (auto fault = peers->fault()) return fault;
    if (pendingSeconds > peers->timeoutSeconds()) {
      return Error("ERR_COLLECTIVE", "NCCL",
                   "the device has worked for " + std::to_string(static_cast<int>(pendingSeconds)) +
                       " s on one submission, and --timeout is " +
                       std::to_string(static_cast<int>(peers->timeoutSeconds())) +
                       " s: another rank has ended or hangs; look for the first error of the "
                       "other ranks");
    }
  }
  return std::nullopt;
}

std::vector<std::shared_ptr<Peers>> Watch::livingPeers() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Peers>> living;
  std::erase_if(peers_, [](const auto& peers) { return peers.expired(); });
  for (const auto& weak : peers_) {
    if (auto peers = weak.lock(); peers && peers->size() > 1) living.push_back(std::move(peers));
  }
  return living;
}

void Watch::abortPeers() {
  for (const auto& peers : livingPeers()) peers->abort();
}

}  // namespace onehour::cuda
