// Communicators are non-blocking: a call may return while a thread of NCCL's goes on, so that a
// rank that waits in vain can give up. NCCL allows one call at a time for each of them, one
// collective at a time for all of them, and abort at any time.
#include "connection.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "../../core/communicator-rules.h"
#include "../../core/progress.h"
#include "../runtime/cuda.h"
#include "collective-memory.h"

namespace onehour::cuda {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;

static_assert(sizeof(ncclUniqueId) == sizeof(UniqueId));

constexpr microseconds kSpin{200};          // most work is on its stream, or done, within
constexpr microseconds kPause{50};          // between looks after that
constexpr milliseconds kFaultInterval{20};  // between looks at the peers
constexpr milliseconds kPatience{1000};     // then it is taken for waiting for a peer
constexpr milliseconds kGraceAfterAbort{2000};
constexpr milliseconds kGraceAtEnd{5000};

// Passes the time between two looks at something that began at `start`.
void pause(Clock::time_point start) {
  if (Clock::now() - start < kSpin) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(kPause);
  }
}

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

ncclResult_t asyncResult(ncclComm_t communicator) {
  ncclResult_t result = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(communicator, &result);
  return asked == ncclSuccess ? result : asked;
}

// NCCL's words for a failure, with what to try.
std::string wordsFor(ncclResult_t result, ncclComm_t communicator) {
  std::string words = ncclGetErrorString(result);
  const char* last = ncclGetLastError(communicator);
  if (last != nullptr && *last != '\0') words.append(" (").append(last).append(")");
  return words.append(hintFor(words));
}

// Held while a collective of any communicator comes onto its stream, to the end of what NCCL goes
// on with in the background: NCCL keeps the order of the calls among the communicators of a GPU,
// and two threads that called at once, one for a program and one for a script's array, would have
// none. Connecting stays out of it, because it waits for other ranks, which may need this one's
// programs.
std::timed_mutex& launches() {
  static auto* mutex = new std::timed_mutex;  // never destroyed, as threads may outlive main
  return *mutex;
}

}  // namespace

// Locks are taken in the order of their declaration, and launches() after `turn`.
struct NcclConnection::State {
  ~State() {
    // An init that nothing ended may still write there.
    static_cast<void>(opened.release());
  }

  std::mutex turn;   // of the thread whose call NCCL goes on with
  std::mutex calls;  // guards every call of NCCL but abort, and what follows here
  ncclComm_t communicator = nullptr;
  // Where NCCL writes the handle, from a thread of its own too, until the init has ended; null
  // before and after.
  std::unique_ptr<ncclComm_t> opened;
  std::map<void*, void*> registered;  // NCCL's handles by the base of the allocation

  std::mutex mutex;  // guards what follows here
  std::condition_variable changed;
  std::string failure;
  bool closing = false;
  bool closed = false;
  std::atomic<bool> failed{false};
  std::atomic<bool> leaving{false};  // closed with nothing wrong

  // The first failure is the one that is reported.
  void note(const std::string& reason) {
    const std::lock_guard lock(mutex);
    if (failed) return;
    failure = reason;
    failed = true;
  }

  // Ends the communicator on a thread of its own, once: NCCL waits there for its own threads and
  // for the captured graphs that refer to it, and they may in turn wait for the thread that calls
  // this.
  static void end(const std::shared_ptr<State>& state, int ordinal, bool inPeace) {
    {
      const std::lock_guard lock(state->mutex);
      if (state->closing) return;
      state->closing = true;
    }
    std::thread([state, ordinal, inPeace] {
      static_cast<void>(cudaSetDevice(ordinal));  // fails only where every call will
      ncclComm_t communicator = nullptr;
      std::unique_ptr<ncclComm_t> opened;  // until the init has ended
      {
        const std::lock_guard lock(state->calls);
        communicator = std::exchange(state->communicator, nullptr);
        opened = std::move(state->opened);
        if (inPeace && communicator != nullptr) {
          for (const auto& [base, handle] : state->registered) {
            static_cast<void>(ncclCommDeregister(communicator, handle));
          }
        }
        state->registered.clear();
      }
      if (communicator != nullptr) leave(communicator, inPeace);
      {
        const std::lock_guard lock(state->mutex);
        state->closed = true;
      }
      state->changed.notify_all();
    }).detach();
  }

  static void leave(ncclComm_t communicator, bool inPeace) {
    if (inPeace) {
      const Clock::time_point start = Clock::now();
      ncclResult_t result = ncclCommFinalize(communicator);
      while (result == ncclInProgress && Clock::now() - start < kGraceAtEnd) {
        pause(start);
        result = asyncResult(communicator);
      }
      if (result == ncclSuccess) {
        static_cast<void>(ncclCommDestroy(communicator));
        return;
      }
    }
    static_cast<void>(ncclCommAbort(communicator));
  }

  void awaitEnd() {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, kGraceAtEnd, [this] { return closed; });
  }
};

NcclConnection::NcclConnection(int ordinal, int rank, int size, double timeoutSeconds,
                               int multiprocessors)
    : ordinal_(ordinal),
      rank_(rank),
      size_(size),
      timeoutSeconds_(timeoutSeconds),
      multiprocessors_(multiprocessors),
      state_(std::make_shared<State>()) {}

NcclConnection::~NcclConnection() { close(); }

void NcclConnection::open(const UniqueId& id) {
  const std::lock_guard turn(state_->turn);
  throwIfFailed();
  const progress::WaitingScope waiting;
  ncclUniqueId place;
  std::memcpy(&place, id.data(), id.size());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.maxCTAs = multiprocessors_;  // NCCL_MAX_CTAS of the environment goes first
  ncclResult_t result;
  {
    const std::lock_guard lock(state_->calls);
    if (state_->communicator != nullptr) {
      throw Error("ERR_COLLECTIVE", "NCCL", "the communicator is connected already");
    }
    state_->opened = std::make_unique<ncclComm_t>(nullptr);
    result = ncclCommInitRankConfig(state_->opened.get(), size_, place, rank_, &config);
    state_->communicator = std::atomic_ref(*state_->opened).load();
  }
  settle("connecting to the other ranks", result);
  const std::lock_guard lock(state_->calls);
  state_->opened.reset();
}

void NcclConnection::enqueue(const std::string& what,
                             const std::function<ncclResult_t(ncclComm_t)>& call) {
  const std::lock_guard turn(state_->turn);
  std::unique_lock launch(launches(), std::defer_lock);
  do {  // the one before may wait for a peer, and this one be aborted meanwhile
    throwIfFailed();
  } while (!launch.try_lock_for(kFaultInterval));
  throwIfFailed();
  ncclResult_t result;
  {
    const std::lock_guard lock(state_->calls);
    if (state_->communicator == nullptr) {
      throwIfFailed();
      throw Error("ERR_COLLECTIVE", "NCCL", what + ": the communicator is not connected yet");
    }
    result = call(state_->communicator);
  }
  settle(what, result);
}

void NcclConnection::settle(const std::string& what, ncclResult_t result) {
  const Clock::time_point start = Clock::now();
  std::optional<progress::WaitingScope> waiting;
  while (result == ncclInProgress) {
    pause(start);
    throwIfFailed();
    const double seconds = secondsSince(start);
    if (seconds > timeoutSeconds_) fail(tooLong(what));
    if (!waiting && Clock::now() - start > kPatience) waiting.emplace();
    const std::lock_guard lock(state_->calls);
    if (state_->communicator != nullptr) result = asyncResult(state_->communicator);
  }
  if (result != ncclSuccess) failWith(what, result);
}

void NcclConnection::wait(const std::string& what, cudaEvent_t event) {
  const Clock::time_point start = Clock::now();
  Clock::time_point nextLook = start + kFaultInterval;
  const progress::WaitingScope waiting;
  std::optional<Clock::time_point> gaveUp;
  while (true) {
    const cudaError_t status = cudaEventQuery(event);
    if (status != cudaErrorNotReady) {
      check(status, "a collective on the device");
      break;
    }
    const Clock::time_point now = Clock::now();
    if (gaveUp) {
      // The memory that the aborted collective works on is the caller's.
      if (now - *gaveUp > kGraceAfterAbort) break;
    } else if (state_->failed) {
      gaveUp = now;
    } else if (now >= nextLook) {
      nextLook = now + kFaultInterval;
      if (!fault() && secondsSince(start) > timeoutSeconds_) state_->note(tooLong(what));
      if (state_->failed) abort();
    }
    pause(start);
  }
  throwIfFailed();
}

void NcclConnection::registerMemory(const void* address) {
  const auto memory = collectiveMemoryAt(address);
  if (!memory) return;
  const std::lock_guard turn(state_->turn);
  const std::lock_guard lock(state_->calls);
  if (state_->failed || state_->communicator == nullptr) return;
  if (state_->registered.contains(memory->base)) return;
  void* handle = nullptr;
  // Where NCCL cannot register memory it copies.
  if (ncclCommRegister(state_->communicator, memory->base, memory->bytes, &handle) != ncclSuccess ||
      handle == nullptr) {
    return;
  }
  state_->registered[memory->base] = handle;
  beforeFree(memory->base, [weak = std::weak_ptr(state_)](void* base) {
    const auto state = weak.lock();
    if (!state) return;
    const std::lock_guard ownTurn(state->turn);
    const std::lock_guard guard(state->calls);
    const auto node = state->registered.extract(base);
    if (node.empty() || state->communicator == nullptr) return;
    static_cast<void>(ncclCommDeregister(state->communicator, node.mapped()));
  });
}

std::optional<Error> NcclConnection::fault() noexcept {
  if (state_->leaving) return std::nullopt;  // no fault of a peer's
  try {
    if (!state_->failed) {
      const std::unique_lock lock(state_->calls, std::try_to_lock);
      if (!lock || state_->communicator == nullptr) return std::nullopt;
      const ncclResult_t result = asyncResult(state_->communicator);
      if (result == ncclSuccess || result == ncclInProgress) return std::nullopt;
      state_->note("a collective failed: " + wordsFor(result, state_->communicator));
    }
    const std::lock_guard lock(state_->mutex);
    return describe(state_->failure);
  } catch (...) {
    return std::nullopt;  // out of memory for a message: the next look reports it
  }
}

void NcclConnection::abort() noexcept {
  try {
    state_->note("aborted by this process");
    State::end(state_, ordinal_, false);
  } catch (...) {
    // No thread to be had: the end of the process ends the connection, and with it the other
    // ranks'.
  }
}

void NcclConnection::close() noexcept {
  try {
    const bool inPeace = !state_->failed;
    state_->leaving = inPeace;
    state_->note("the communicator was closed");
    State::end(state_, ordinal_, inPeace);
    state_->awaitEnd();
  } catch (...) {
  }
}

void NcclConnection::throwIfFailed() {
  if (!state_->failed) return;
  const std::lock_guard lock(state_->mutex);
  throw describe(state_->failure);
}

void NcclConnection::fail(const std::string& reason) {
  state_->note(reason);
  abort();
  throwIfFailed();
  throw describe(reason);
}

void NcclConnection::failWith(const std::string& what, ncclResult_t result) {
  std::string words;
  {
    const std::lock_guard lock(state_->calls);
    words = wordsFor(result, state_->communicator);
  }
  fail(what + " failed: " + words);
}

std::string NcclConnection::tooLong(const std::string& what) const {
  return what + " did not end within the timeout of " +
         std::to_string(static_cast<int64_t>(timeoutSeconds_)) + " s" + kPeerHint;
}

Error NcclConnection::describe(const std::string& reason) const {
  return Error("ERR_COLLECTIVE", "NCCL", ofRank(rank_, size_, reason));
}

}  // namespace onehour::cuda
