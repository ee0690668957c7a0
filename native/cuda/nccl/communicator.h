// A communicator on NCCL: collectives that block, on host or device memory, and those that are only
// enqueued on a stream of a program. Free of NCCL's headers, so that tests need none.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../../core/backend.h"

namespace onehour::cuda {

class NcclConnection;
class Watch;

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(int ordinal, int rank, int size, double timeoutSeconds, bool acrossHosts,
                   Watch& watch, const std::string& name = "");
  ~NcclCommunicator() override;

  int rank() const override;
  int size() const override;
  std::vector<uint8_t> address() const override;
  bool connect(const std::vector<std::vector<uint8_t>>& addresses) override;
  void allReduce(void* data, size_t count, DataType type) override;
  void broadcast(void* data, size_t bytes, int root) override;
  void allGather(const void* input, void* output, size_t bytes) override;
  void barrier() override;
  void abort() noexcept override;
  std::string remark() const override { return remark_; }

  // Put a collective on device memory on a stream, without waiting for it.
  void enqueueAllReduce(void* data, size_t count, DataType type, cudaStream_t stream);
  void enqueueBroadcast(void* data, size_t bytes, int root, cudaStream_t stream);
  void enqueueAllGather(const void* from, void* to, size_t bytes, cudaStream_t stream);
  // Prepares this memory for collectives.
  void prepare(const void* data);

 private:
  class Staging;

  // Runs a blocking operation: one at a time, on this communicator's GPU.
  void run(const std::function<void()>& operation);
  // True for memory of this communicator's GPU; throws for another's.
  bool onDevice(const void* data) const;
  // A collective on device memory, to its end.
  void finish(const std::string& what, const std::function<void(cudaStream_t)>& enqueue);
  // A collective on host memory: `fill` puts a chunk into a slot and the work on it on the slot's
  // stream, `drain` takes the result out.
  template <typename Fill, typename Drain>
  void throughSlots(const std::string& what, size_t units, size_t unitsInSlot, Fill fill,
                    Drain drain);
  Staging& staging();
  void warmUp();

  mutable std::mutex order_;  // of operations
  mutable std::vector<uint8_t> address_;
  std::string remark_;
  std::unique_ptr<Staging> staging_;
  const std::shared_ptr<NcclConnection> connection_;
};

// A communicator on GPU `ordinal`, which `watch` looks after. The one named "statistics" takes few
// multiprocessors from the GPU.
std::unique_ptr<Communicator> createNcclCommunicator(int ordinal, int rank, int size,
                                                     double timeoutSeconds, bool acrossHosts,
                                                     Watch& watch, const std::string& name);

// Whether NCCL keeps collectives of several communicators in the order of their calls.
bool ncclOrdersCollectives();

}  // namespace onehour::cuda
