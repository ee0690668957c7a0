// All-reduce among the processes of one machine through memory that they share, which spares
// them the sockets' copies into the kernel and out again.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace onehour::cpu {

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(other.value_) { other.value_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor();
  int get() const { return value_; }
  explicit operator bool() const { return value_ >= 0; }

 private:
  int value_;
};

class SharedMemory {
 public:
  // What a rank tells the others: which machine it is on and where rank 0's memory is.
  struct Introduction {
    std::array<char, 96> machine{};  // this start of the kernel and its name space of processes
    uint64_t key = 0;                // of rank 0's memory
    int32_t process = 0;
    int32_t descriptor = -1;  // of rank 0's memory
  };

  SharedMemory(int rank, int size);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  Introduction introduction() const;

  // Maps rank 0's memory, which must live until all ranks have tried. False where that cannot be:
  // ranks on other machines or in other containers, an old kernel. The ranks must then agree to do
  // without.
  bool map(const std::vector<Introduction>& ranks);

  // Adds up data[i] of all ranks, in place; all ranks get the same bits. Blocks; throws
  // std::runtime_error when a rank has ended or left, calls for another size, or does not come
  // within `patience`, and after `leave`.
  template <typename T>
  void allReduce(T* data, size_t count, std::chrono::milliseconds patience);

  // From any thread: blocked and later calls throw, here and on the other ranks.
  void leave() noexcept;

 private:
  struct Control;

  size_t bytes() const;  // of all the memory
  Control& control(int rank) const;
  std::byte* slot(int rank) const;  // of this round
  void arrive();
  void awaitAll(std::chrono::milliseconds patience) const;
  void await(int rank, std::chrono::milliseconds patience) const;
  void expectSame(uint64_t bytes) const;

  const int rank_;
  const int size_;
  const size_t slotBytes_;
  uint64_t key_ = 0;
  Descriptor memory_;  // rank 0's
  std::byte* mapped_ = nullptr;
  std::vector<Descriptor> processes_;  // by rank, readable once the process has ended
  uint32_t steps_ = 0;                 // how often this rank has arrived
  uint32_t round_ = 0;
};

}  // namespace onehour::cpu
