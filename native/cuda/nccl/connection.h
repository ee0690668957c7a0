// One rank's end of an NCCL communicator: its state, its failures and its end, safe to reach from
// any thread.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "../runtime/watch.h"
#include "rules.h"

namespace onehour::cuda {

class NcclConnection final : public Peers {
 public:
  // `multiprocessors`: how many its collectives take at most.
  NcclConnection(int ordinal, int rank, int size, double timeoutSeconds, int multiprocessors);
  ~NcclConnection() override;
  NcclConnection(const NcclConnection&) = delete;
  NcclConnection& operator=(const NcclConnection&) = delete;

  int rank() const { return rank_; }
  int ordinal() const { return ordinal_; }

  // Meets the other ranks; blocks.
  void open(const UniqueId& id);

  // Puts work on a stream: `call` is one call of NCCL that takes the communicator. Returns when the
  // work is on the stream, so that what follows on the stream follows it. One at a time, of all
  // connections of the process.
  void enqueue(const std::string& what, const std::function<ncclResult_t(ncclComm_t)>& call);

  // Blocks until an event has come that follows work of this connection.
  void wait(const std::string& what, cudaEvent_t event);

  // Lets NCCL work on the allocation that an address lies in without copies; once an allocation,
  // and nothing where NCCL did not make it.
  void registerMemory(const void* address);

  // Throws the first failure, if there was one.
  void throwIfFailed();

  // Leaves the group when nothing is going on, else aborts it. Later calls throw.
  void close() noexcept;

  std::optional<Error> fault() noexcept override;
  void abort() noexcept override;
  int size() const override { return size_; }
  double timeoutSeconds() const override { return timeoutSeconds_; }

 private:
  struct State;

  // Waits until NCCL has done what it went on with in the background.
  void settle(const std::string& what, ncclResult_t result);
  [[noreturn]] void fail(const std::string& reason);
  [[noreturn]] void failWith(const std::string& what, ncclResult_t result);
  std::string tooLong(const std::string& what) const;
  Error describe(const std::string& reason) const;

  const int ordinal_;
  const int rank_;
  const int size_;
  const double timeoutSeconds_;
  const int multiprocessors_;
  const std::shared_ptr<State> state_;  // outlives this while a thread still closes it
};

}  // namespace onehour::cuda
