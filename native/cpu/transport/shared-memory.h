// Collectives among the processes of one machine through memory that they share: no port is open,
// and nothing is copied into the kernel and out again.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "descriptor.h"
#include "proof.h"

namespace onehour::cpu {

class SharedMemory {
 public:
  // What a rank sends the others: which machine it is on and where rank 0's memory is.
  struct Introduction {
    Digest machine{};  // see machineOfProcesses
    uint64_t key = 0;  // of rank 0's memory
    int32_t process = 0;
    int32_t descriptor = -1;  // of rank 0's memory
  };

  SharedMemory(int rank, int size);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  Introduction introduction() const;

  // Maps rank 0's memory, which must live until all ranks have tried. False where that is not
  // possible: ranks on other machines or in other containers, an old kernel. The ranks must then
  // agree to do without.
  bool map(const std::vector<Introduction>& ranks);

  // All of these block, and throw std::runtime_error when a rank has ended or left, calls something
  // else, or does not come within `patience`, and after `leave`.
  // Adds up data[i] of all ranks, in place; all ranks get the same bits.
  template <typename T>
  void allReduce(T* data, size_t count, std::chrono::milliseconds patience);
  void broadcast(void* data, size_t bytes, int root, std::chrono::milliseconds patience);
  // `bytes` of each rank, in rank order; `input` may be this rank's place in `output`.
  void allGather(const void* input, void* output, size_t bytes, std::chrono::milliseconds patience);
  void barrier(std::chrono::milliseconds patience);

  // From any thread: blocked and later calls throw, here and on the other ranks.
  void leave() noexcept;

 private:
  struct Control;

  size_t bytes() const;  // of all the memory
  Control& control(int rank) const;
  std::byte* slot(int rank) const;                // of this round
  void begin(uint64_t call);                      // a round
  void meet(std::chrono::milliseconds patience);  // all ranks, with their slots filled
  void arrive();
  void awaitAll(std::chrono::milliseconds patience) const;
  void await(int rank, std::chrono::milliseconds patience) const;

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
