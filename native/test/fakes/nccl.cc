// The fake of NCCL: ranks meet in memory that they share, in one process or several, and every call
// goes on in the background for some polls, as a non-blocking communicator's may.
#include "nccl.h"

#include <nccl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cuda-runtime.h"
#include "nccl-group.h"

using onehour::fake::Group;
using onehour::fake::Member;
using onehour::fake::Use;

namespace {

constexpr int kPollsInBackground = 3;
struct World {
  std::mutex mutex;
  std::set<ncclComm_t> living;
  std::set<void*> collective;                      // allocations of NCCL's
  std::set<std::pair<ncclComm_t, void*>> handles;  // of registrations
  std::set<int> failing;
  std::map<int, std::vector<std::string>> journals;  // by rank
  int ids = 0;
  int destroyed = 0;
  int aborted = 0;
  std::atomic<int> version{NCCL_VERSION_CODE};
  std::atomic<int> misuses{0};
  std::atomic<int> launches{0};  // of collectives, in progress
};

World& world() {
  static auto* instance = new World;
  return *instance;
}

}  // namespace

struct ncclComm {
  std::shared_ptr<Member> member;
  int blocks = 0;               // at most, of a collective
  int polls = 0;                // in the background, to go
  std::function<void()> after;  // what happens then
  std::atomic<bool> inCall{false};
  bool launching = false;       // counts in `launches`
  ncclComm_t* place = nullptr;  // of the handle, until the init has ended
};

namespace {

// A call on a communicator, checked for what NCCL forbids.
class Call {
 public:
  Call(ncclComm_t communicator, bool mayBeInProgress) : communicator_(communicator) {
    {
      const std::lock_guard lock(world().mutex);
      if (!world().living.contains(communicator)) {
        ++world().misuses;
        return;
      }
    }
    if (communicator->inCall.exchange(true)) ++world().misuses;
    entered_ = true;
    if (!mayBeInProgress && communicator->after) ++world().misuses;
  }
  ~Call() {
    if (entered_) communicator_->inCall = false;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  bool entered() const { return entered_; }

 private:
  ncclComm_t communicator_;
  bool entered_ = false;
};

ncclResult_t later(ncclComm_t communicator, std::function<void()> what) {
  communicator->polls = kPollsInBackground;
  communicator->after = std::move(what);
  return ncclInProgress;
}

void note(const Member& own) {
  const std::lock_guard lock(world().mutex);
  world().journals[own.rank].push_back(own.group.place());
}

void endLaunch(ncclComm_t communicator) {
  if (std::exchange(communicator->launching, false)) --world().launches;
}

// The background's last act of an init, however it ends.
void endInit(ncclComm_t communicator) {
  if (communicator->place != nullptr) *std::exchange(communicator->place, nullptr) = communicator;
}

ncclResult_t collective(ncclComm_t communicator, const void* from, size_t bytes,
                        cudaStream_t stream, Use use) {
  const Call call(communicator, false);
  if (!call.entered()) return ncclInvalidArgument;
  if (world().launches++ > 0) ++world().misuses;
  communicator->launching = true;
  return later(communicator, [communicator, member = communicator->member, from, bytes, stream,
                              use = std::move(use)] {
    endLaunch(communicator);
    onehour::fake::post(stream, [=] {
      const std::lock_guard turn(member->turn);
      note(*member);
      exchange(*member, static_cast<const uint8_t*>(from), bytes, use);
      note(*member);
    });
  });
}

// Adds in the order of the ranks, so that all have the same bits.
template <typename T>
Use sumInto(void* to) {
  return [to](int peer, const uint8_t* part, size_t at, size_t bytes) {
    T* total = reinterpret_cast<T*>(static_cast<uint8_t*>(to) + at);
    if (peer == 0) {
      std::memcpy(total, part, bytes);
      return;
    }
    const T* values = reinterpret_cast<const T*>(part);
    for (size_t i = 0; i < bytes / sizeof(T); ++i) total[i] += values[i];
  };
}

void forget(ncclComm_t communicator) {
  const std::lock_guard lock(world().mutex);
  world().living.erase(communicator);
  std::erase_if(world().handles, [&](const auto& pair) { return pair.first == communicator; });
  delete communicator;
}

}  // namespace

namespace onehour::fake {

template <typename Body>
static int counted(Body body) {
  const std::lock_guard lock(world().mutex);
  return static_cast<int>(body());
}

int communicators() {
  return counted([] { return world().living.size(); });
}
int registrations() {
  return counted([] { return world().handles.size(); });
}
int collectiveAllocations() {
  return counted([] { return world().collective.size(); });
}
int destroyed() {
  return counted([] { return world().destroyed; });
}
int aborted() {
  return counted([] { return world().aborted; });
}
int misuses() { return world().misuses; }

std::vector<std::string> journal(int rank) {
  const std::lock_guard lock(world().mutex);
  return world().journals[rank];
}

void setVersion(int version) { world().version = version; }

int blocks(int rank) {
  const std::lock_guard lock(world().mutex);
  int total = 0;
  for (const ncclComm_t communicator : world().living) {
    if (communicator->member->rank == rank) total += communicator->blocks;
  }
  return total;
}

void failRank(int rank) {
  const std::lock_guard lock(world().mutex);
  world().failing.insert(rank);
}

void mend() {
  const std::lock_guard lock(world().mutex);
  world().failing.clear();
}

}  // namespace onehour::fake

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = world().version;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error" : "error";
}

const char* ncclGetLastError(ncclComm_t) { return "told by the fake"; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(world().mutex);
  *id = {};
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  std::snprintf(id->internal, sizeof(id->internal), "/onehour-nccl-%d-%d-%lld", getpid(),
                ++world().ids, static_cast<long long>(now));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* result, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (config->blocking != 0 || config->version != NCCL_VERSION_CODE) return ncclInvalidArgument;
  if (config->maxCTAs < 1) return ncclInvalidArgument;  // kernels count on a limit
  if (size > onehour::fake::kMostRanks) return ncclInvalidArgument;
  auto* communicator = new ncclComm;
  communicator->member = std::make_shared<Member>(id.internal, size, rank);
  communicator->blocks = config->maxCTAs;
  const std::lock_guard lock(world().mutex);
  communicator->polls = kPollsInBackground;
  communicator->after = [communicator] { endInit(communicator); };
  communicator->place = result;
  world().living.insert(communicator);
  *result = communicator;
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* result) {
  const Call call(communicator, true);
  if (!call.entered()) return ncclInvalidArgument;
  *result = ncclSuccess;
  {
    const std::lock_guard lock(world().mutex);
    const Group& group = communicator->member->group;
    if (world().failing.contains(communicator->member->rank) || group.lost()) {
      *result = ncclRemoteError;
    } else if (!group.complete()) {
      *result = ncclInProgress;
    }
  }
  if (*result != ncclSuccess || !communicator->after) return ncclSuccess;
  if (--communicator->polls > 0) {
    *result = ncclInProgress;
  } else {
    std::exchange(communicator->after, nullptr)();
  }
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t communicator) {
  const Call call(communicator, false);
  return call.entered() ? later(communicator, [] {}) : ncclInvalidArgument;
}

ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  {
    const Call call(communicator, false);
    if (!call.entered()) return ncclInvalidArgument;
    const std::lock_guard lock(world().mutex);
    ++world().destroyed;
  }
  forget(communicator);
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  {
    const Call call(communicator, true);
    if (!call.entered()) return ncclInvalidArgument;
    const std::lock_guard lock(world().mutex);
    ++world().aborted;
    endInit(communicator);
    endLaunch(communicator);
    communicator->member->aborted = true;
  }
  forget(communicator);
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t communicator, cudaStream_t stream) {
  return collective(communicator, from, count * 4, stream,
                    type == ncclFloat32 ? sumInto<float>(to) : sumInto<int32_t>(to));
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t, int root,
                           ncclComm_t communicator, cudaStream_t stream) {
  return collective(communicator, from, count, stream,
                    [=](int peer, const uint8_t* part, size_t at, size_t bytes) {
                      if (peer == root) std::memcpy(static_cast<uint8_t*>(to) + at, part, bytes);
                    });
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t,
                           ncclComm_t communicator, cudaStream_t stream) {
  return collective(communicator, from, count, stream,
                    [=](int peer, const uint8_t* part, size_t at, size_t bytes) {
                      const size_t begin = count * static_cast<size_t>(peer);
                      std::memcpy(static_cast<uint8_t*>(to) + begin + at, part, bytes);
                    });
}

ncclResult_t ncclCommRegister(ncclComm_t communicator, void* memory, size_t, void** handle) {
  const Call call(communicator, false);
  if (!call.entered()) return ncclInvalidArgument;
  const std::lock_guard lock(world().mutex);
  *handle = memory;
  if (!world().handles.emplace(communicator, memory).second) ++world().misuses;
  return ncclSuccess;
}

ncclResult_t ncclCommDeregister(ncclComm_t communicator, void* handle) {
  const Call call(communicator, false);
  if (!call.entered()) return ncclInvalidArgument;
  const std::lock_guard lock(world().mutex);
  if (world().handles.erase({communicator, handle}) == 0) ++world().misuses;
  return ncclSuccess;
}

ncclResult_t ncclMemAlloc(void** memory, size_t bytes) {
  if (cudaMalloc(memory, bytes) != cudaSuccess) return ncclUnhandledCudaError;
  const std::lock_guard lock(world().mutex);
  world().collective.insert(*memory);
  return ncclSuccess;
}

ncclResult_t ncclMemFree(void* memory) {
  {
    const std::lock_guard lock(world().mutex);
    world().collective.erase(memory);
    for (const auto& [communicator, handle] : world().handles) {
      if (handle == memory) ++world().misuses;
    }
  }
  cudaFree(memory);
  return ncclSuccess;
}

}  // extern "C"
