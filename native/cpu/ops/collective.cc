// Kernels of collectives: each calls the communicator, which blocks the stream's thread.
#include "../../core/ops/collective.h"

#include "kernels.h"

namespace onehour::cpu {
namespace {

std::unique_ptr<Kernel> prepareAllReduce(const Instruction& instruction, PrepareContext& context) {
  return makeKernel([all = allReduceOf(instruction, context)](Stream&) {
    all.communicator.allReduce(all.data, all.count, all.type);
  });
}

std::unique_ptr<Kernel> prepareAllGather(const Instruction& instruction, PrepareContext& context) {
  return makeKernel([all = allGatherOf(instruction, context)](Stream&) {
    all.communicator.allGather(all.from, all.to, all.bytes);
  });
}

std::unique_ptr<Kernel> prepareBroadcast(const Instruction& instruction, PrepareContext& context) {
  return makeKernel([all = broadcastOf(instruction, context)](Stream&) {
    all.communicator.broadcast(all.data, all.bytes, all.root);
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
}  // namespace onehour::cpu
