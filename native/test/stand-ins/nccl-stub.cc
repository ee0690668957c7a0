// A stand-in for NCCL and CUDA's runtime in host memory: streams are threads, ranks live in one
// process, and every call goes on in the background for some polls, as a non-blocking
// communicator's may.
#include "nccl-stub.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <atomic>
#include <condition_variable>
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

#include "runtime-stub.h"

namespace {

constexpr int kPollsInBackground = 3;

// One collective: what the ranks brought so far.
struct Operation {
  std::map<int, std::vector<uint8_t>> inputs;
};

// The ranks that meet under one id.
struct Group {
  std::string place;
  int size = 0;
  std::set<int> present;
  std::map<uint64_t, Operation> operations;
};

struct World {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::shared_ptr<Group>> groups;
  std::set<ncclComm_t> living;
  std::map<void*, size_t> allocations;             // of the device
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
    std::shared_ptr<Group> group;
    int rank = 0;
    bool aborted = false;  // under the world's mutex
  };
  std::shared_ptr<Shared> shared = std::make_shared<Shared>();
  uint64_t sequence = 0;
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

// Brings a rank's bytes to an operation and hands all ranks' to `use`, unless aborted.
void meet(const Shared& rank, uint64_t sequence, std::vector<uint8_t> bytes,
          const std::function<void(const Operation&)>& use) {
  std::unique_lock lock(world().mutex);
  std::vector<std::string>& journal = world().journals[rank.rank];
  journal.push_back(rank.group->place);
  Operation& operation = rank.group->operations[sequence];
  operation.inputs[rank.rank] = std::move(bytes);
  world().changed.notify_all();
  world().changed.wait(lock, [&] {
    return rank.aborted || static_cast<int>(operation.inputs.size()) == rank.group->size;
  });
  if (!rank.aborted) use(operation);
  journal.push_back(rank.group->place);
}

void endLaunch(ncclComm_t communicator) {
  if (std::exchange(communicator->launching, false)) --world().launches;
}

// The background's last act of an init, however it ends.
void endInit(ncclComm_t communicator) {
  if (communicator->place != nullptr) *std::exchange(communicator->place, nullptr) = communicator;
}

ncclResult_t collective(ncclComm_t communicator, const void* from, size_t bytes,
                        cudaStream_t stream, std::function<void(const Operation&)> use) {
  const Call call(communicator, false);
  if (!call.entered()) return ncclInvalidArgument;
  const uint64_t sequence = communicator->sequence++;
  if (world().launches++ > 0) ++world().misuses;
  communicator->launching = true;
  return later(communicator, [communicator, shared = communicator->shared, sequence, from, bytes,
                              stream, use = std::move(use)] {
    endLaunch(communicator);
    onehour::stub::post(stream, [=] {
      const auto* begin = static_cast<const uint8_t*>(from);
      meet(*shared, sequence, {begin, begin + bytes}, use);
    });
  });
}

template <typename T>
void sum(const Operation& operation, void* to, size_t count) {
  std::vector<T> total(count);
  for (const auto& [rank, bytes] : operation.inputs) {
    const T* values = reinterpret_cast<const T*>(bytes.data());
    for (size_t i = 0; i < count; ++i) total[i] += values[i];
  }
  std::memcpy(to, total.data(), count * sizeof(T));
}

void forget(ncclComm_t communicator) {
  const std::lock_guard lock(world().mutex);
  world().living.erase(communicator);
  std::erase_if(world().handles, [&](const auto& pair) { return pair.first == communicator; });
  delete communicator;
}

}  // namespace

namespace onehour::stub {

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

}  // namespace onehour::stub

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = world().version;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error" : "error";
}

const char* ncclGetLastError(ncclComm_t) { return "told by the stub"; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(world().mutex);
  *id = {};
  std::snprintf(id->internal, sizeof(id->internal), "meeting %d", ++world().ids);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* result, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (config->blocking != 0 || config->version != NCCL_VERSION_CODE) return ncclInvalidArgument;
  auto* communicator = new ncclComm;
  const std::lock_guard lock(world().mutex);
  std::shared_ptr<Group>& group = world().groups[id.internal];
  if (!group) group = std::make_shared<Group>();
  group->place = id.internal;
  group->size = size;
  group->present.insert(rank);
  communicator->shared->group = group;
  communicator->shared->rank = rank;
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
    const Group& group = *communicator->shared->group;
    if (world().failing.contains(communicator->shared->rank)) {
      *result = ncclRemoteError;
    } else if (static_cast<int>(group.present.size()) < group.size) {
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
    world().changed.notify_all();
  }
  forget(communicator);
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t communicator, cudaStream_t stream) {
  return collective(communicator, from, count * 4, stream, [=](const Operation& operation) {
    if (type == ncclFloat32) {
      sum<float>(operation, to, count);
    } else {
      sum<int32_t>(operation, to, count);
    }
  });
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t, int root,
                           ncclComm_t communicator, cudaStream_t stream) {
  return collective(communicator, from, count, stream, [=](const Operation& operation) {
    std::memcpy(to, operation.inputs.at(root).data(), count);
  });
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t,
                           ncclComm_t communicator, cudaStream_t stream) {
  return collective(communicator, from, count, stream, [=](const Operation& operation) {
    for (const auto& [rank, bytes] : operation.inputs) {
      std::memcpy(static_cast<uint8_t*>(to) + count * static_cast<size_t>(rank), bytes.data(),
                  count);
    }
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
