// Kernels of collectives: each puts one call of NCCL on the program's stream, which a graph may
// record. The order among communicators is that of the program's text, see chooseSettings in
// backend.cc.
#include "../../core/ops/collective.h"

#include "../nccl/communicator.h"
#include "../runtime/cuda.h"
#include "kernels.h"

namespace onehour::cuda {
namespace {

NcclCommunicator& ncclOf(Communicator& communicator) {
  return static_cast<NcclCommunicator&>(communicator);
}

std::unique_ptr<Kernel> prepareAllReduce(const Instruction& instruction, PrepareContext& context) {
  const AllReduce all = allReduceOf(instruction, context);
  ncclOf(all.communicator).prepare(all.data);
  return makeKernel([all](Stream& stream) {
    ncclOf(all.communicator).enqueueAllReduce(all.data, all.count, all.type, handleOf(stream));
  });
}

std::unique_ptr<Kernel> prepareAllGather(const Instruction& instruction, PrepareContext& context) {
  return makeKernel([all = allGatherOf(instruction, context)](Stream& stream) {
    ncclOf(all.communicator).enqueueAllGather(all.from, all.to, all.bytes, handleOf(stream));
  });
}

std::unique_ptr<Kernel> prepareBroadcast(const Instruction& instruction, PrepareContext& context) {
  return makeKernel([all = broadcastOf(instruction, context)](Stream& stream) {
    ncclOf(all.communicator).enqueueBroadcast(all.data, all.bytes, all.root, handleOf(stream));
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"all-reduce", {"x:f32[...] -> x:f32[...]", prepareAllReduce}},
      {"all-gather", {"x:f32[1,L] -> y:f32[G,L]", prepareAllGather}},
      {"broadcast", {"x:f32[...] -> x:f32[...]", prepareBroadcast}},
  };
});

}  // namespace

}  // namespace onehour::cuda
