// How the ranks of a communicator of the fake of NCCL meet: in memory that they share, in one
// process or several.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>

namespace onehour::fake {

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

// A rank in its group. Work on a stream may look at it after its communicator is gone.
struct Member {
  Member(const char* place, int size, int own) : group(place, size), rank(own) {
    seat().process = getpid();
  }
  ~Member() { seat().process = kLeft; }
  Seat& seat() const { return group.seat(rank); }

  const Group group;
  const int rank;
  std::atomic<bool> aborted{false};
  std::mutex turn;  // of collectives, one at a time
  uint64_t chunks = 0;
};

// False when the communicator was aborted first.
template <typename Condition>
bool await(const Member& own, const Condition& condition) {
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
inline bool exchange(Member& own, const uint8_t* from, size_t bytes, const Use& use) {
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

}  // namespace onehour::fake
