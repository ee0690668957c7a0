// The fake of NCCL: ranks meet in memory that they share, in one process or several, and every call
// goes on in the background for some polls, as a non-blocking communicator's may.
#include "nccl.h"

#include <fcntl.h>
#include <nccl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuda-runtime.h"

namespace {

constexpr int kPollsInBackground = 3;
constexpr int kMostRanks = 8;
constexpr size_t kSlotBytes = 256 * 1024;

constexpr int kLeft = -1;

// A rank's place in the shared memory, which is zero at first.
struct Seat {
  std::atomic<int> process;     // of the rank: 0 before it came, kLeft afterwards
  std::atomic<uint64_t> given;  // chunks that were put into the slot so far
  std::atomic<uint64_t> taken;  // chunks of all ranks that it has read
  uint8_t slot[kSlotBytes];
};

// The ranks that meet under one id.
class Group {
 public:
  Group(std::string place, int size) : place_(std::move(place)), size_(size) {
    const int file = shm_open(place_.c_str(), O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, sizeof(Seat[kMostRanks])) != 0) throw std::bad_alloc();
    void* memory =
        mmap(nullptr, sizeof(Seat[kMostRanks]), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    seats_ = static_cast<Seat*>(memory);
  }
  ~Group() {
    shm_unlink(place_.c_str());
    munmap(seats_, sizeof(Seat[kMostRanks]));
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  const std::string& place() const { return place_; }
  int size() const { return size_; }
  Seat& seat(int rank) const { return seats_[rank]; }

  // Whether all ranks have come, so that nobody opens the memory any more.
  bool complete() const {
    for (int rank = 0; rank < size_; ++rank) {
      if (seat(rank).process == 0) return false;
    }
    shm_unlink(place_.c_str());
    return true;
  }

  // Whether a rank's process is gone that had not left.
  bool lost() const {
    for (int rank = 0; rank < size_; ++rank) {
      const int process = seat(rank).process;
      if (process > 0 && kill(process, 0) != 0 && errno == ESRCH) return true;
    }
    return false;
  }

 private:
  std::string place_;
  int size_;
  Seat* seats_;
};

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
  // What work on a stream looks at after the communicator is gone.
  struct Shared {
    Shared(const char* place, int size, int own) : group(place, size), rank(own) {}
    ~Shared() { seat().process = kLeft; }
    Seat& seat() const { return group.seat(rank); }

    const Group group;
    const int rank;
    std::atomic<bool> aborted{false};
    std::mutex turn;  // of collectives, one at a time
    uint64_t chunks = 0;
  };
  std::shared_ptr<Shared> shared;
  int polls = 0;                // in the background, to go
  std::function<void()> after;  // what happens then
  std::atomic<bool> inCall{false};
  bool launching = false;       // counts in `launches`
  ncclComm_t* place = nullptr;  // of the handle, until the init has ended
};

namespace {

using Shared = ncclComm::Shared;

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

// False when the communicator was aborted first.
template <typename Condition>
bool await(const Shared& own, const Condition& condition) {
  for (int looks = 0; !condition(); ++looks) {
    if (own.aborted) return false;
    if (looks < 100) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  return true;
}

// What a rank does with a part of a peer's bytes: the peer, the part, its place, its length.
using Use = std::function<void(int peer, const uint8_t* part, size_t at, size_t bytes)>;

// Hands a rank's bytes to all others and theirs to `use`, peer by peer. False when aborted.
bool exchange(Shared& own, const uint8_t* from, size_t bytes, const Use& use) {
  const Group& group = own.group;
  for (size_t at = 0; at < bytes; at += kSlotBytes) {
    const size_t length = std::min(kSlotBytes, bytes - at);
    const uint64_t chunk = own.chunks++;
    for (int peer = 0; peer < group.size(); ++peer) {
      if (!await(own, [&] { return group.seat(peer).taken >= chunk; })) return false;
    }
    std::memcpy(own.seat().slot, from + at, length);
    own.seat().given = chunk + 1;
    for (int peer = 0; peer < group.size(); ++peer) {
      const Seat& seat = group.seat(peer);
      if (!await(own, [&] { return seat.given > chunk; })) return false;
      use(peer, seat.slot, at, length);
    }
    own.seat().taken = chunk + 1;
  }
  return true;
}

void note(const Shared& own) {
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
  return later(communicator, [communicator, shared = communicator->shared, from, bytes, stream,
                              use = std::move(use)] {
    endLaunch(communicator);
    onehour::fake::post(stream, [=] {
      const std::lock_guard turn(shared->turn);
      note(*shared);
      exchange(*shared, static_cast<const uint8_t*>(from), bytes, use);
      note(*shared);
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
  if (size > kMostRanks) return ncclInvalidArgument;
  auto* communicator = new ncclComm;
  communicator->shared = std::make_shared<Shared>(id.internal, size, rank);
  communicator->shared->seat().process = getpid();
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
    const Group& group = communicator->shared->group;
    if (world().failing.contains(communicator->shared->rank) || group.lost()) {
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
    communicator->shared->aborted = true;
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
