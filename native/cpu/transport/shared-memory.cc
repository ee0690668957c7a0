// Collectives through shared memory, in rounds of a slot a rank: each fills its own, all meet, each
// reads the others'. A large round of an all-reduce is a reduce-scatter and an all-gather: each
// rank puts its part of the array in its slot, adds up one piece of everybody's, and takes the
// other pieces' sums. A small one is one exchange, after which each adds up all. Rounds alternate
// between two slots, so that a slot is written again only after all have arrived in the round
// between, hence have read it.
#include "shared-memory.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

#include "../../core/words.h"
#include "machine.h"

namespace onehour::cpu {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Two slots of two ranks stay in a core's second-level cache.
constexpr size_t kSlotBytes = 256 * 1024;
constexpr size_t kMostBytes = 16 * 1024 * 1024;  // of all slots
constexpr size_t kSmallBytes = 16 * 1024;  // up to here a second meeting costs more than adding
constexpr size_t kLine = 64;               // bytes that cores exchange at once
constexpr milliseconds kNap{100};          // between looks at what sends no wake-up

size_t slotBytesFor(int size) {
  return std::min(kSlotBytes, kMostBytes / (2 * static_cast<size_t>(size)) / kLine * kLine);
}

void futex(std::atomic<uint32_t>& word, int operation, uint32_t value, const timespec* timeout) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation, value, timeout, nullptr, 0);
}

void wakeAll(std::atomic<uint32_t>& word) { futex(word, FUTEX_WAKE, INT_MAX, nullptr); }

void sleepWhile(std::atomic<uint32_t>& word, uint32_t value) {
  const timespec time{0, std::chrono::nanoseconds(kNap).count()};
  futex(word, FUTEX_WAIT, value, &time);
}

// A collective in one word, so that the ranks can compare what they call.
enum class Kind : uint64_t { barrier, allGather, broadcast, allReduce };
constexpr int kBytesBits = 40;
constexpr int kRootBits = 20;

uint64_t callOf(Kind kind, uint64_t bytes, int root = 0) {
  return static_cast<uint64_t>(kind) << (kRootBits + kBytesBits) |
         static_cast<uint64_t>(root) << kBytesBits | (bytes & ((uint64_t{1} << kBytesBits) - 1));
}

std::string words(uint64_t call) {
  const std::string bytes = counted(call & ((uint64_t{1} << kBytesBits) - 1), "byte");
  const uint64_t root = (call >> kBytesBits) & ((uint64_t{1} << kRootBits) - 1);
  switch (static_cast<Kind>(call >> (kRootBits + kBytesBits))) {
    case Kind::barrier:
      return "a barrier";
    case Kind::allGather:
      return "an all-gather of " + bytes;
    case Kind::broadcast:
      return "a broadcast of " + bytes + " from rank " + std::to_string(root);
    case Kind::allReduce:
      return "an all-reduce of " + bytes;
  }
  return "a collective of another build";
}

// to[i] = left[i] + right[i]; `to` may be `left`.
template <typename T>
void add(T* to, const T* left, const T* right, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = left[i] + right[i];
}

}  // namespace

// What one rank writes and the others read, on cache lines of its own.
struct alignas(kLine) SharedMemory::Control {
  std::atomic<uint32_t> arrived;   // how often; a futex
  std::atomic<uint32_t> sleepers;  // that wait for the next arrival
  std::atomic<uint32_t> left;
  std::atomic<uint64_t> call[2];  // that it is in, by the round's parity
  std::atomic<uint64_t> key;      // rank 0's: that this is the memory that it announced
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

SharedMemory::SharedMemory(int rank, int size)
    : rank_(rank), size_(size), slotBytes_(slotBytesFor(size)) {
  if (rank != 0) return;
  Descriptor memory(memfd_create("onehour", MFD_CLOEXEC));
  // Allocated at once: memory that is missing later would be a SIGBUS.
  if (!memory || posix_fallocate(memory.get(), 0, bytes()) != 0) return;
  std::random_device random;
  key_ = uint64_t{random()} << 32 | random();
  if (pwrite(memory.get(), &key_, sizeof(key_), offsetof(Control, key)) != sizeof(key_)) return;
  memory_ = std::move(memory);
}

SharedMemory::~SharedMemory() {
  if (mapped_ == nullptr) return;
  leave();
  munmap(mapped_, bytes());
}

size_t SharedMemory::bytes() const { return size_ * (sizeof(Control) + 2 * slotBytes_); }

SharedMemory::Introduction SharedMemory::introduction() const {
  Introduction result;
  result.machine = machineOfProcesses();
  result.key = key_;
  result.process = getpid();
  result.descriptor = memory_.get();
  return result;
}

bool SharedMemory::map(const std::vector<Introduction>& ranks) {
  const Introduction& first = ranks.front();
  if (first.machine == Digest{} || first.descriptor < 0) return false;
  for (const Introduction& rank : ranks) {
    if (rank.machine != first.machine) return false;
  }
  for (const Introduction& rank : ranks) {
    processes_.emplace_back(static_cast<int>(syscall(SYS_pidfd_open, rank.process, 0)));
    if (!processes_.back()) return false;
  }

  Descriptor theirs;
  if (rank_ != 0) {
    const std::string path =
        "/proc/" + std::to_string(first.process) + "/fd/" + std::to_string(first.descriptor);
    theirs = Descriptor(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  }
  const int descriptor = rank_ == 0 ? memory_.get() : theirs.get();
  struct stat file {};
  if (fstat(descriptor, &file) != 0 || !S_ISREG(file.st_mode) ||
      static_cast<size_t>(file.st_size) != bytes()) {
    return false;
  }
  void* address = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (address == MAP_FAILED) return false;
  if (static_cast<Control*>(address)->key.load() != first.key) {
    munmap(address, bytes());
    return false;
  }
  mapped_ = static_cast<std::byte*>(address);
  return true;
}

SharedMemory::Control& SharedMemory::control(int rank) const {
  return reinterpret_cast<Control*>(mapped_)[rank];
}

std::byte* SharedMemory::slot(int rank) const {
  return mapped_ + size_ * sizeof(Control) + (2 * rank + round_ % 2) * slotBytes_;
}

void SharedMemory::arrive() {
  Control& own = control(rank_);
  own.arrived.store(++steps_);
  if (own.sleepers.load() > 0) wakeAll(own.arrived);
}

void SharedMemory::awaitAll(milliseconds patience) const {
  for (int rank = 0; rank < size_; ++rank) {
    if (rank != rank_) await(rank, patience);
  }
}

void SharedMemory::await(int rank, milliseconds patience) const {
  Control& peer = control(rank);
  const auto there = [&](uint32_t arrived) { return static_cast<int32_t>(arrived - steps_) >= 0; };
  if (there(peer.arrived.load())) return;
  const Clock::time_point deadline = Clock::now() + patience;
  const std::string name = "rank " + std::to_string(rank);
  for (;;) {
    // Checked before the arrivals: a rank may arrive for the last time and then end.
    const bool left = peer.left.load() != 0;
    pollfd process{processes_[rank].get(), POLLIN, 0};
    const bool ended = poll(&process, 1, 0) == 1;
    const uint32_t arrived = peer.arrived.load();
    if (there(arrived)) return;
    if (control(rank_).left.load() != 0) throw std::runtime_error("aborted by this process");
    if (ended) throw std::runtime_error("the process of " + name + " has ended");
    if (left) throw std::runtime_error(name + " has left");
    if (Clock::now() >= deadline) {
      throw std::runtime_error(name + " did not come within " +
                               std::to_string(patience.count() / 1000) + " s");
    }
    peer.sleepers.fetch_add(1);
    if (peer.arrived.load() == arrived) sleepWhile(peer.arrived, arrived);
    peer.sleepers.fetch_sub(1);
  }
}

void SharedMemory::begin(uint64_t call) {
  if (control(rank_).left.load() != 0) throw std::runtime_error("aborted by this process");
  ++round_;
  control(rank_).call[round_ % 2] = call;
}

void SharedMemory::meet(milliseconds patience) {
  arrive();
  awaitAll(patience);
  const uint64_t own = control(rank_).call[round_ % 2].load();
  for (int rank = 0; rank < size_; ++rank) {
    const uint64_t theirs = control(rank).call[round_ % 2].load();
    if (theirs == own) continue;
    throw std::runtime_error("rank " + std::to_string(rank) + " is in " + words(theirs) +
                             ", this rank in " + words(own));
  }
}

void SharedMemory::barrier(milliseconds patience) {
  begin(callOf(Kind::barrier, 0));
  meet(patience);
}

void SharedMemory::broadcast(void* data, size_t bytes, int root, milliseconds patience) {
  const uint64_t call = callOf(Kind::broadcast, bytes, root);
  for (size_t at = 0; at < bytes; at += slotBytes_) {
    const size_t part = std::min(bytes - at, slotBytes_);
    std::byte* place = static_cast<std::byte*>(data) + at;
    begin(call);
    if (rank_ == root) std::memcpy(slot(rank_), place, part);
    meet(patience);
    if (rank_ != root) std::memcpy(place, slot(root), part);
  }
}

void SharedMemory::allGather(const void* input, void* output, size_t bytes, milliseconds patience) {
  const uint64_t call = callOf(Kind::allGather, bytes);
  const auto* from = static_cast<const std::byte*>(input);
  auto* to = static_cast<std::byte*>(output);
  for (size_t at = 0; at < bytes; at += slotBytes_) {
    const size_t part = std::min(bytes - at, slotBytes_);
    begin(call);
    std::memcpy(slot(rank_), from + at, part);
    meet(patience);
    for (int rank = 0; rank < size_; ++rank) std::memcpy(to + rank * bytes + at, slot(rank), part);
  }
}

template <typename T>
void SharedMemory::allReduce(T* data, size_t count, milliseconds patience) {
  constexpr size_t grain = kLine / sizeof(T);
  const auto slotOf = [&](int rank) { return reinterpret_cast<T*>(slot(rank)); };
  const uint64_t call = callOf(Kind::allReduce, count * sizeof(T));
  while (count > 0) {
    begin(call);
    T* own = slotOf(rank_);
    const size_t part = std::min(count, slotBytes_ / sizeof(T));
    if (part * sizeof(T) <= kSmallBytes) {
      std::memcpy(own, data, part * sizeof(T));
      meet(patience);
      add(data, slotOf(0), slotOf(1), part);
      for (int rank = 2; rank < size_; ++rank) add(data, data, slotOf(rank), part);
    } else {
      const size_t piece = (part + size_ * grain - 1) / (size_ * grain) * grain;
      const auto begin = [&](int rank) { return std::min(part, rank * piece); };
      const size_t from = begin(rank_);
      const size_t to = begin(rank_ + 1);
      std::memcpy(own, data, from * sizeof(T));
      std::memcpy(own + to, data + to, (part - to) * sizeof(T));
      meet(patience);
      // The sum takes the place in the slot that nobody else reads before the next arrival.
      const auto operand = [&](int rank) { return (rank == rank_ ? data : slotOf(rank)) + from; };
      add(own + from, operand(0), operand(1), to - from);
      for (int rank = 2; rank < size_; ++rank)
        add(own + from, own + from, operand(rank), to - from);
      arrive();
      std::memcpy(data + from, own + from, (to - from) * sizeof(T));
      awaitAll(patience);
      for (int rank = 0; rank < size_; ++rank) {
        if (rank == rank_) continue;
        const size_t at = begin(rank);
        std::memcpy(data + at, slotOf(rank) + at, (begin(rank + 1) - at) * sizeof(T));
      }
    }
    data += part;
    count -= part;
  }
}

template void SharedMemory::allReduce(float*, size_t, milliseconds);
template void SharedMemory::allReduce(int32_t*, size_t, milliseconds);

void SharedMemory::leave() noexcept {
  control(rank_).left = 1;
  for (int rank = 0; rank < size_; ++rank) wakeAll(control(rank).arrived);
}

}  // namespace onehour::cpu
