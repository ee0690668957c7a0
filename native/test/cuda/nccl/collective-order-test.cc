// Tests of the order in which collectives of two communicators come onto the device, on the fakes
// of NCCL and CUDA's runtime: where NCCL keeps no order, it is that of the text on every rank.
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../../../core/executor.h"
#include "../../../cuda/ops/kernels.h"
#include "../../../cuda/runtime/backend.h"
#include "../../../cuda/tiling/tiling.h"
#include "../../check.h"
#include "../../concurrency.h"
#include "../../fakes/cuda-runtime.h"
#include "../../fakes/nccl.h"
#include "../../programs.h"

namespace onehour::cuda {
namespace {

// Holds up its stream on one rank.
std::unique_ptr<Kernel> stall(const Instruction& instruction, PrepareContext& context) {
  const bool here = context.communicator("gradients").rank() == instruction.integer("rank");
  return makeKernel([here](Stream& stream) {
    if (!here) return;
    fake::post(handleOf(stream),
               [] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); });
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {{"stall", {"->", stall}}};
});

}  // namespace

}  // namespace onehour::cuda

namespace onehour::test {
namespace {

constexpr int kRanks = 2;
constexpr int kSteps = 3;

// Nothing in it orders the streams; left to themselves, the ranks would begin with different ones.
const std::string kProgram = program(
    "comm stall rank=0\n"
    "comm all-reduce communicator=gradients | x=param+0:f32[4] -> x=param+0:f32[4]\n"
    "statistics stall rank=1\n"
    "statistics all-reduce communicator=statistics | x=temp+0:f32[4] -> x=temp+0:f32[4]\n"
    "statistics all-gather communicator=statistics | x=temp+0:f32[1,4] -> y=temp+64:f32[2,4]\n"
    "comm all-reduce communicator=gradients | x=param+16:f32[4] -> x=param+16:f32[4]\n"
    "comm stall rank=1\n"
    "statistics all-reduce communicator=statistics | x=temp+0:f32[4] -> x=temp+0:f32[4]");
const std::string kOrder = "gssgs";  // of a step's collectives, by communicator
constexpr int kChanges = 3;          // of the communicator in that

struct Rank {
  std::shared_ptr<Backend> backend = cuda::createCudaBackend({});
  Executor::Communicators communicators;
  std::shared_ptr<Executor> executor;
};

// Some steps on every rank; the number of waits for events that a rank's device got.
int waitsOfARun() {
  std::vector<Rank> ranks(kRanks);
  for (const char* name : {"gradients", "statistics"}) {
    std::vector<std::vector<uint8_t>> addresses;
    for (int rank = 0; rank < kRanks; ++rank) {
      Rank& own = ranks[static_cast<size_t>(rank)];
      own.communicators[name] = own.backend->createCommunicator(rank, kRanks, 1000, false, name);
      addresses.push_back(own.communicators[name]->address());
    }
    each(kRanks, [&](int rank) {
      ranks[static_cast<size_t>(rank)].communicators[name]->connect(addresses);
    });
  }
  // Kernels leave them no more than this.
  for (int rank = 0; rank < kRanks; ++rank) {
    CHECK(fake::blocks(rank) == cuda::collectiveMultiprocessors);
  }
  const int before = fake::waits();
  each(kRanks, [&](int rank) {
    Rank& own = ranks[static_cast<size_t>(rank)];
    own.executor = Executor::create(own.backend, own.communicators);
    Executor& executor = *own.executor;
    start([&](Executor::Done done) { executor.load({{"p", kProgram}}, std::move(done)); }).get();
    for (int step = 0; step < kSteps; ++step) {
      start([&](Executor::Done done) { executor.submit("p", 0, std::move(done)); }).get();
    }
    executor.dispose();
    CHECK(executor.worker()->join(Worker::Clock::now() + std::chrono::seconds(10)));
  });
  return (fake::waits() - before) / kRanks;
}

void keepsTheOrderOfTheText() {
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "0", 1);
  const int waits = waitsOfARun();
  for (int rank = 0; rank < kRanks; ++rank) {
    std::vector<std::string> journal = fake::journal(rank);
    // What connecting did is before that.
    const size_t entries = 2 * kOrder.size() * kSteps;
    CHECK(journal.size() > entries);
    journal.erase(journal.begin(), journal.end() - static_cast<std::ptrdiff_t>(entries));
    const std::string& gradients = journal[0];
    const std::string& statistics = journal[2];
    CHECK(gradients != statistics);
    for (size_t i = 0; i < entries; ++i) {
      CHECK(journal[i] == (kOrder[i / 2 % kOrder.size()] == 'g' ? gradients : statistics));
    }
  }
  unsetenv("NCCL_LAUNCH_ORDER_IMPLICIT");  // which has the backend set it
  CHECK(waitsOfARun() == waits - kChanges * kSteps);
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"collectives begin in the order of the text", keepsTheOrderOfTheText}});
}
