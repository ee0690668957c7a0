#include "communicator.h"

#include <nccl.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "../../core/communicator-rules.h"
#include "../../core/words.h"
#include "../runtime/cuda.h"
#include "../runtime/watch.h"
#include "../tiling/tiling.h"
#include "collective-memory.h"
#include "connection.h"
#include "rules.h"
#include "staging.h"

namespace onehour::cuda {
namespace {

// Of the device buffer and of the pinned one, each: large enough that a copy over PCIe (some 20
// GB/s) takes ten times as long as its launch.
constexpr size_t kSlotBytes = size_t{4} << 20;

constexpr const char* kGraphRegister = "NCCL_GRAPH_REGISTER";

ncclDataType_t typeOf(DataType type) {
  switch (type) {
    case DataType::f32:
      return ncclFloat32;
    case DataType::i32:
      return ncclInt32;
    default:
      refuseAllReduce("NCCL", type);
  }
}

std::string withBytes(const char* what, size_t bytes) {
  return std::string(what) + " of " + counted(bytes, "byte");
}

int loadedVersion() {
  int version = 0;
  static_cast<void>(ncclGetVersion(&version));
  return version;
}

uint8_t* shifted(void* data, size_t bytes) { return static_cast<uint8_t*>(data) + bytes; }

const uint8_t* shifted(const void* data, size_t bytes) {
  return static_cast<const uint8_t*>(data) + bytes;
}

}  // namespace

// A stream of its own, and the slots that host memory goes through.
class NcclCommunicator::Staging {
 public:
  struct Slot {
    uint8_t* host = nullptr;  // pinned
    uint8_t* device = nullptr;
    cudaStream_t stream = nullptr;
    EventHandle end;  // of the work on the slot

    void toDevice(size_t offset, size_t bytes) {
      ONEHOUR_CUDA(
          cudaMemcpyAsync(device + offset, host + offset, bytes, cudaMemcpyHostToDevice, stream));
    }
    void toHost(size_t offset, size_t bytes) {
      ONEHOUR_CUDA(
          cudaMemcpyAsync(host + offset, device + offset, bytes, cudaMemcpyDeviceToHost, stream));
    }
  };

  Staging() {
    int least = 0;
    int greatest = 0;
    ONEHOUR_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    ONEHOUR_CUDA(cudaStreamCreateWithPriority(stream_.out(), cudaStreamNonBlocking, greatest));
    ONEHOUR_CUDA(cudaEventCreateWithFlags(end_.out(), cudaEventDisableTiming));
  }

  cudaStream_t stream() const { return stream_.get(); }
  cudaEvent_t end() const { return end_.get(); }

  Slot& slot(int index) {
    if (!host_) allocate();
    return slots_[static_cast<size_t>(index)];
  }

 private:
  void allocate() {
    constexpr size_t bytes = kSlotBytes * stagingSlots;
    void* memory = nullptr;
    ONEHOUR_CUDA(cudaMalloc(&memory, bytes));
    device_ = {memory, [](void* freed) { cudaFree(freed); }};
    ONEHOUR_CUDA(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault));
    host_ = {memory, [](void* freed) { cudaFreeHost(freed); }};
    for (size_t index = 0; index < slots_.size(); ++index) {
      Slot& slot = slots_[index];
      slot.host = shifted(host_.get(), index * kSlotBytes);
      slot.device = shifted(device_.get(), index * kSlotBytes);
      slot.stream = stream_.get();
      ONEHOUR_CUDA(cudaEventCreateWithFlags(slot.end.out(), cudaEventDisableTiming));
    }
  }

  std::shared_ptr<void> device_;
  std::shared_ptr<void> host_;
  std::array<Slot, stagingSlots> slots_{};
  StreamHandle stream_;
  EventHandle end_;
};

NcclCommunicator::NcclCommunicator(int ordinal, int rank, int size, double timeoutSeconds,
                                   bool acrossHosts, Watch& watch, const std::string& name)
    : connection_(std::make_shared<NcclConnection>(
          ordinal, rank, size, boundedTimeout(timeoutSeconds),
          name == "statistics" ? statisticsMultiprocessors : gradientMultiprocessors)) {
  expectRank("NCCL", rank, size);
  if (size == 1) return;
  if (const auto problem = versionProblem(NCCL_VERSION_CODE, loadedVersion())) {
    throw Error("ERR_COLLECTIVE", "NCCL", *problem);
  }
  watch.add(connection_);
  if (!acrossHosts || !registrationHangs(loadedVersion())) return;
  // Before NCCL reads its settings, with the first communicator: one of a group within a machine
  // may come before those that reach further.
  leaveMemoryUnregistered();
  setenv(kGraphRegister, "0", 0);
  remark_ = registrationRemark(loadedVersion(), std::getenv(kGraphRegister));
}

// The watch may hold the connection for a moment longer.
NcclCommunicator::~NcclCommunicator() { connection_->close(); }

int NcclCommunicator::rank() const { return connection_->rank(); }
int NcclCommunicator::size() const { return connection_->size(); }
void NcclCommunicator::abort() noexcept { connection_->abort(); }

std::vector<uint8_t> NcclCommunicator::address() const {
  if (size() == 1) return {};
  const std::lock_guard order(order_);
  if (!address_.empty()) return address_;
  UniqueId id{};
  if (rank() == 0) {
    ncclUniqueId place;
    const ncclResult_t result = ncclGetUniqueId(&place);
    if (result != ncclSuccess) {
      std::string words = ncclGetErrorString(result);
      if (const char* last = ncclGetLastError(nullptr)) words.append(" (").append(last).append(")");
      throw Error("ERR_COLLECTIVE", "NCCL",
                  "opening a meeting place failed: " + words.append(hintFor(words)));
    }
    std::memcpy(id.data(), &place, id.size());
  }
  address_ = encodeAddress(loadedVersion(), id);
  return address_;
}

bool NcclCommunicator::connect(const std::vector<std::vector<uint8_t>>& addresses) {
  if (size() == 1) return true;
  run([&] {
    connection_->open(meetingPlace(addresses, size()));
    warmUp();
  });
  return true;
}

// Runs each collective once, since graphs cannot record what a first one sets up.
void NcclCommunicator::warmUp() {
  uint8_t* memory = staging().slot(0).device;
  ONEHOUR_CUDA(cudaMemsetAsync(memory, 0, kSlotBytes, staging().stream()));
  finish("a first all-reduce", [&](cudaStream_t stream) {
    enqueueAllReduce(memory, 1, DataType::f32, stream);
    enqueueAllReduce(memory, kSlotBytes / sizeof(float), DataType::f32, stream);
  });
  const size_t part = std::min<size_t>(kSlotBytes / static_cast<size_t>(size()), 1024);
  finish("a first all-gather", [&](cudaStream_t stream) {
    enqueueAllGather(memory + part * static_cast<size_t>(rank()), memory, part, stream);
  });
  finish("a first broadcast",
         [&](cudaStream_t stream) { enqueueBroadcast(memory, kSlotBytes, 0, stream); });
}

void NcclCommunicator::enqueueAllReduce(void* data, size_t count, DataType type,
                                        cudaStream_t stream) {
  const ncclDataType_t kind = typeOf(type);
  if (size() == 1 || count == 0) return;
  connection_->enqueue(
      withBytes("all-reduce", count * bytesOf(type)), [&](ncclComm_t communicator) {
        return ncclAllReduce(data, data, count, kind, ncclSum, communicator, stream);
      });
}

void NcclCommunicator::enqueueBroadcast(void* data, size_t bytes, int root, cudaStream_t stream) {
  if (size() == 1 || bytes == 0) return;
  connection_->enqueue(withBytes("broadcast", bytes), [&](ncclComm_t communicator) {
    return ncclBroadcast(data, data, bytes, ncclUint8, root, communicator, stream);
  });
}

void NcclCommunicator::enqueueAllGather(const void* from, void* to, size_t bytes,
                                        cudaStream_t stream) {
  if (bytes == 0) return;
  if (size() == 1) {
    if (from != to) {
      ONEHOUR_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
    }
    return;
  }
  connection_->enqueue(withBytes("all-gather", bytes * static_cast<size_t>(size())),
                       [&](ncclComm_t communicator) {
                         return ncclAllGather(from, to, bytes, ncclUint8, communicator, stream);
                       });
}

void NcclCommunicator::prepare(const void* data) {
  if (size() > 1) connection_->registerMemory(data);
}

void NcclCommunicator::allReduce(void* data, size_t count, DataType type) {
  typeOf(type);
  if (size() == 1 || count == 0) return;
  run([&] {
    const size_t bytes = count * bytesOf(type);
    const std::string what = withBytes("all-reduce", bytes);
    if (onDevice(data)) {
      finish(what, [&](cudaStream_t stream) { enqueueAllReduce(data, count, type, stream); });
      return;
    }
    throughSlots(
        what, bytes, kSlotBytes,
        [&](Staging::Slot& slot, const Chunk& chunk) {
          std::memcpy(slot.host, shifted(data, chunk.first), chunk.count);
          slot.toDevice(0, chunk.count);
          enqueueAllReduce(slot.device, chunk.count / bytesOf(type), type, slot.stream);
          slot.toHost(0, chunk.count);
        },
        [&](Staging::Slot& slot, const Chunk& chunk) {
          std::memcpy(shifted(data, chunk.first), slot.host, chunk.count);
        });
  });
}

void NcclCommunicator::broadcast(void* data, size_t bytes, int root) {
  expectRoot("NCCL", root, size());
  if (size() == 1 || bytes == 0) return;
  run([&] {
    const std::string what = withBytes("broadcast", bytes);
    if (onDevice(data)) {
      finish(what, [&](cudaStream_t stream) { enqueueBroadcast(data, bytes, root, stream); });
      return;
    }
    const bool gives = rank() == root;
    throughSlots(
        what, bytes, kSlotBytes,
        [&](Staging::Slot& slot, const Chunk& chunk) {
          if (gives) {
            std::memcpy(slot.host, shifted(data, chunk.first), chunk.count);
            slot.toDevice(0, chunk.count);
          }
          enqueueBroadcast(slot.device, chunk.count, root, slot.stream);
          if (!gives) slot.toHost(0, chunk.count);
        },
        [&](Staging::Slot& slot, const Chunk& chunk) {
          if (!gives) std::memcpy(shifted(data, chunk.first), slot.host, chunk.count);
        });
  });
}

void NcclCommunicator::allGather(const void* input, void* output, size_t bytes) {
  if (bytes == 0) return;
  run([&] {
    if (size() == 1) {
      if (input != output) ONEHOUR_CUDA(cudaMemcpy(output, input, bytes, cudaMemcpyDefault));
      return;
    }
    const auto ranks = static_cast<size_t>(size());
    const std::string what = withBytes("all-gather", bytes * ranks);
    const bool device = onDevice(output);
    if (device != onDevice(input)) {
      throw Error("ERR_COLLECTIVE", "NCCL",
                  what + ": expected both arrays on the GPU or both on the host");
    }
    if (device) {
      finish(what, [&](cudaStream_t stream) { enqueueAllGather(input, output, bytes, stream); });
      return;
    }
    throughSlots(
        what, bytes, kSlotBytes / ranks,
        [&](Staging::Slot& slot, const Chunk& chunk) {
          const size_t own = chunk.count * static_cast<size_t>(rank());
          std::memcpy(slot.host + own, shifted(input, chunk.first), chunk.count);
          slot.toDevice(own, chunk.count);
          enqueueAllGather(slot.device + own, slot.device, chunk.count, slot.stream);
          slot.toHost(0, chunk.count * ranks);
        },
        [&](Staging::Slot& slot, const Chunk& chunk) {
          for (size_t peer = 0; peer < ranks; ++peer) {
            std::memcpy(shifted(output, peer * bytes + chunk.first), slot.host + peer * chunk.count,
                        chunk.count);
          }
        });
  });
}

void NcclCommunicator::barrier() {
  if (size() == 1) return;
  run([&] {
    float* nothing = reinterpret_cast<float*>(staging().slot(0).device);
    ONEHOUR_CUDA(cudaMemsetAsync(nothing, 0, sizeof(float), staging().stream()));
    finish("barrier",
           [&](cudaStream_t stream) { enqueueAllReduce(nothing, 1, DataType::f32, stream); });
  });
}

void NcclCommunicator::run(const std::function<void()>& operation) {
  const std::lock_guard order(order_);
  connection_->throwIfFailed();
  ONEHOUR_CUDA(cudaSetDevice(connection_->ordinal()));
  operation();
}

void NcclCommunicator::finish(const std::string& what,
                              const std::function<void(cudaStream_t)>& enqueue) {
  enqueue(staging().stream());
  ONEHOUR_CUDA(cudaEventRecord(staging().end(), staging().stream()));
  connection_->wait(what, staging().end());
}

template <typename Fill, typename Drain>
void NcclCommunicator::throughSlots(const std::string& what, size_t units, size_t unitsInSlot,
                                    Fill fill, Drain drain) {
  inChunks(
      units, unitsInSlot,
      [&](const Chunk& chunk) {
        Staging::Slot& slot = staging().slot(chunk.slot);
        fill(slot, chunk);
        ONEHOUR_CUDA(cudaEventRecord(slot.end.get(), slot.stream));
      },
      [&](const Chunk& chunk) {
        Staging::Slot& slot = staging().slot(chunk.slot);
        connection_->wait(what, slot.end.get());
        drain(slot, chunk);
      });
}

NcclCommunicator::Staging& NcclCommunicator::staging() {
  if (!staging_) staging_ = std::make_unique<Staging>();
  return *staging_;
}

bool NcclCommunicator::onDevice(const void* data) const {
  cudaPointerAttributes attributes{};
  ONEHOUR_CUDA(cudaPointerGetAttributes(&attributes, data));
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
    return false;
  }
  if (attributes.device != connection_->ordinal()) {
    throw Error("ERR_COLLECTIVE", "NCCL",
                "the communicator is on GPU " + std::to_string(connection_->ordinal()) +
                    ", the array on GPU " + std::to_string(attributes.device) +
                    "; make the communicator on the array's device");
  }
  return true;
}

bool ncclOrdersCollectives() {
  return ordersCollectives(loadedVersion(), std::getenv("NCCL_LAUNCH_ORDER_IMPLICIT"));
}

std::unique_ptr<Communicator> createNcclCommunicator(int ordinal, int rank, int size,
                                                     double timeoutSeconds, bool acrossHosts,
                                                     Watch& watch, const std::string& name) {
  return std::make_unique<NcclCommunicator>(ordinal, rank, size, timeoutSeconds, acrossHosts, watch,
                                            name);
}

}  // namespace onehour::cuda
