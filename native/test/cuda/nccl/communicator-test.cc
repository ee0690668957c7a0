// Tests of the NCCL communicator on the fakes of NCCL and CUDA: what collectives compute, and that
// a rank stops waiting for one that is gone.
#include "../../../cuda/nccl/communicator.h"

#include <nccl.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../../../cuda/nccl/collective-memory.h"
#include "../../../cuda/runtime/cuda.h"
#include "../../../cuda/runtime/watch.h"
#include "../../check.h"
#include "../../concurrency.h"
#include "../../fakes/nccl.h"

namespace onehour::test {
namespace {

using namespace onehour::cuda;
using Clock = std::chrono::steady_clock;

constexpr double kSoon = 3;  // seconds; enough for a sanitized build to connect on a busy machine
constexpr double kNever = 1000;

const Fault kNoFault{};

// The ranks of one group, as their processes would have them.
struct Ranks {
  Ranks(int size, double timeoutSeconds, bool acrossHosts = false) : watch(0, &kNoFault) {
    for (int rank = 0; rank < size; ++rank) {
      all.push_back(
          std::make_unique<NcclCommunicator>(0, rank, size, timeoutSeconds, acrossHosts, watch));
    }
    for (const auto& communicator : all) addresses.push_back(communicator->address());
  }

  // Runs `body` on all ranks at once; the first exception is thrown.
  void each(const std::function<void(NcclCommunicator&)>& body) {
    test::each(static_cast<int>(all.size()),
               [&](int rank) { body(*all[static_cast<size_t>(rank)]); });
  }

  void connect() {
    each([&](NcclCommunicator& rank) { rank.connect(addresses); });
  }

  Watch watch;
  std::vector<std::unique_ptr<NcclCommunicator>> all;
  std::vector<std::vector<uint8_t>> addresses;
};

struct DeviceMemory {
  explicit DeviceMemory(size_t bytes) { cudaMalloc(&data, bytes); }
  ~DeviceMemory() { cudaFree(data); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* data = nullptr;
};

double secondsOf(const std::function<void()>& body) {
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void computes() {
  for (const int size : {1, 2, 3}) {
    Ranks ranks(size, kNever);
    ranks.connect();
    const int total = size * (size + 1) / 2;
    // Small, and through more than two slots with a tail.
    for (const size_t count : {size_t{1}, size_t{1000}, (size_t{13} << 18) + 7}) {
      ranks.each([&](NcclCommunicator& rank) {
        const int own = rank.rank() + 1;
        std::vector<float> floats(count);
        std::vector<int32_t> integers(count);
        for (size_t i = 0; i < count; ++i) {
          floats[i] = static_cast<float>(own) * static_cast<float>(i % 1000);
          integers[i] = own * static_cast<int32_t>(i);
        }
        rank.allReduce(floats.data(), count, DataType::f32);
        rank.allReduce(integers.data(), count, DataType::i32);
        bool same = true;
        for (size_t i = 0; i < count; ++i) {
          same = same && floats[i] == static_cast<float>(total) * static_cast<float>(i % 1000) &&
                 integers[i] == total * static_cast<int32_t>(i);
        }
        CHECK(same);

        const size_t bytes = 4 * count + 1;
        std::vector<uint8_t> given(bytes, static_cast<uint8_t>(own));
        rank.broadcast(given.data(), bytes, size - 1);
        CHECK(given == std::vector<uint8_t>(bytes, static_cast<uint8_t>(size)));

        std::vector<uint8_t> part(bytes);
        for (size_t i = 0; i < bytes; ++i)
          part[i] = static_cast<uint8_t>(own + static_cast<int>(i));
        std::vector<uint8_t> parts(bytes * static_cast<size_t>(size));
        rank.allGather(part.data(), parts.data(), bytes);
        same = true;
        for (size_t peer = 0; peer < static_cast<size_t>(size); ++peer) {
          for (size_t i = 0; i < bytes; ++i) {
            same = same && parts[peer * bytes + i] == static_cast<uint8_t>(peer + 1 + i);
          }
        }
        CHECK(same);
        rank.barrier();
      });
    }
  }
}

void computesOnTheDevice() {
  Ranks ranks(2, kNever);
  ranks.connect();
  ranks.each([](NcclCommunicator& rank) {
    const DeviceMemory memory(64);
    auto* floats = static_cast<float*>(memory.data);
    floats[0] = 1;
    floats[1] = static_cast<float>(rank.rank());
    rank.allReduce(floats, 2, DataType::f32);
    CHECK(floats[0] == 2 && floats[1] == 1);
    floats[0] = static_cast<float>(rank.rank());
    rank.broadcast(floats, 4, 1);
    CHECK(floats[0] == 1);
    floats[rank.rank()] = static_cast<float>(rank.rank() + 5);
    rank.allGather(floats + rank.rank(), floats, 4);
    CHECK(floats[0] == 5 && floats[1] == 6);
    float host = 0;
    CHECK(contains(thrown([&] { rank.allGather(&host, floats, 4); }).what(), "both arrays"));
    // On a stream of a program.
    const CudaStream stream(0);
    floats[0] = 3;
    rank.enqueueAllReduce(floats, 1, DataType::f32, stream.handle());
    EventHandle end;
    ONEHOUR_CUDA(cudaEventCreateWithFlags(end.out(), cudaEventDisableTiming));
    ONEHOUR_CUDA(cudaEventRecord(end.get(), stream.handle()));
    while (cudaEventQuery(end.get()) != cudaSuccess) std::this_thread::yield();
    CHECK(floats[0] == 6);
  });
}

void refuses() {
  Ranks ranks(2, kNever);
  float value = 1;
  CHECK(contains(thrown([&] { ranks.all[0]->allReduce(&value, 1, DataType::f32); }).what(),
                 "not connected yet"));
  CHECK(contains(thrown([&] { ranks.all[0]->allReduce(&value, 1, DataType::u8); }).what(),
                 "f32 and i32"));
  CHECK(contains(thrown([&] { ranks.all[0]->broadcast(&value, 4, 2); }).what(), "ranks 0 to 1"));
  CHECK(contains(thrown([&] { ranks.all[0]->connect({{}, {}}); }).what(), "no address of NCCL"));
  CHECK(thrown([&] { NcclCommunicator(0, 2, 2, 1, false, ranks.watch); }).code == "ERR_COLLECTIVE");
  ranks.connect();  // none of it broke anything
  ranks.each([](NcclCommunicator& rank) { rank.barrier(); });
}

// A rank that does not come ends the wait, and later calls repeat the first failure.
void givesUp() {
  Ranks ranks(2, kSoon);
  ranks.connect();
  float value = 1;
  const double seconds = secondsOf([&] {
    const Error error = thrown([&] { ranks.all[0]->allReduce(&value, 1, DataType::f32); });
    CHECK(error.code == "ERR_COLLECTIVE" && error.library == "NCCL");
    CHECK(contains(error.what(), "rank 0 of 2: all-reduce of 4 bytes did not end"));
  });
  CHECK(seconds > 0.9 * kSoon && seconds < 5 * kSoon);
  CHECK(contains(thrown([&] { ranks.all[0]->barrier(); }).what(), "all-reduce of 4 bytes"));
}

void givesUpConnecting() {
  Ranks ranks(2, kSoon);
  const Error error = thrown([&] { ranks.all[1]->connect(ranks.addresses); });
  CHECK(contains(error.what(), "rank 1 of 2: connecting to the other ranks did not end"));
}

void abortsFromAnotherThread(bool connected) {
  Ranks ranks(2, kNever);
  if (connected) ranks.connect();
  NcclCommunicator& rank = *ranks.all[0];
  auto blocked = std::async(std::launch::async, [&] {
    return thrown([&] {
      if (connected) {
        rank.barrier();
      } else {
        rank.connect(ranks.addresses);
      }
    });
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(secondsOf([&] { rank.abort(); }) < 2);
  CHECK(contains(blocked.get().what(), "aborted by this process"));
  rank.abort();
  CHECK(contains(thrown([&] { rank.barrier(); }).what(), "aborted by this process"));
  // Nor is the communicator called again, whose init wrote its handle once more when it ended.
  const int before = fake::misuses();
  const std::shared_ptr<void> memory = allocateForCollectives(64);
  rank.prepare(memory.get());
  CHECK(fake::misuses() == before && fake::registrations() == 0);
}

// A program's collectives on one thread, a script's on another, each on a communicator of its own.
void launchesOneAtATime() {
  Ranks programs(2, kNever);
  Ranks scripts(2, kNever);
  programs.connect();
  scripts.connect();
  const int before = fake::misuses();
  auto script = std::async(std::launch::async, [&] {
    scripts.each([](NcclCommunicator& rank) {
      const DeviceMemory memory(64);
      for (int i = 0; i < 200; ++i) rank.allReduce(memory.data, 1, DataType::f32);
    });
  });
  programs.each([](NcclCommunicator& rank) {
    const DeviceMemory memory(64);
    const CudaStream stream(0);
    for (int i = 0; i < 200; ++i) {
      rank.enqueueAllReduce(memory.data, 1, DataType::f32, stream.handle());
    }
    ONEHOUR_CUDA(cudaStreamSynchronize(stream.handle()));
  });
  script.get();
  CHECK(fake::misuses() == before);
}

void reportsAPeersEnd() {
  Ranks ranks(2, kNever);
  ranks.connect();
  fake::failRank(0);
  const Error error = thrown([&] { ranks.all[0]->barrier(); });
  CHECK(contains(error.what(), "remote process exited"));
  CHECK(contains(error.what(), "another rank has ended"));
  fake::mend();
}

// A program's collective, which only the watch waits for.
void watchesPrograms(bool fault) {
  Ranks ranks(2, fault ? kNever : kSoon);
  ranks.connect();
  const DeviceMemory memory(64);
  const CudaStream stream(0);
  ranks.all[0]->enqueueAllReduce(memory.data, 1, DataType::f32, stream.handle());
  if (fault) fake::failRank(0);
  const Error error = thrown([&] { ranks.watch.wait(stream.handle()); });
  CHECK(contains(error.what(), fault ? "remote process exited" : "--timeout is 3 s"));
  fake::mend();
  // Aborted by the watch, so the stream is free.
  CHECK(contains(thrown([&] {
                   ranks.all[0]->enqueueAllReduce(memory.data, 1, DataType::f32, stream.handle());
                 }).what(),
                 "rank 0 of 2"));
}

void registersMemory() {
  Ranks ranks(2, kNever);
  ranks.connect();
  std::shared_ptr<void> gradients = allocateForCollectives(1 << 20);
  const std::shared_ptr<void> others = allocateForCollectives(1 << 10);
  CHECK(fake::collectiveAllocations() == 2);
  for (const auto& rank : ranks.all) {
    rank->prepare(gradients.get());
    rank->prepare(static_cast<uint8_t*>(gradients.get()) + 4096);
    rank->prepare(others.get());
    const DeviceMemory plain(64);
    rank->prepare(plain.data);
  }
  CHECK(fake::registrations() == 4);
  gradients.reset();
  CHECK(fake::registrations() == 2 && fake::collectiveAllocations() == 1);
  ranks.all.clear();
  CHECK(fake::registrations() == 0);
  CHECK(!collectiveMemoryAt(gradients.get()));
  CHECK(collectiveMemoryAt(static_cast<uint8_t*>(others.get()) + 1023)->base == others.get());
  CHECK(!collectiveMemoryAt(static_cast<uint8_t*>(others.get()) + 1024));
}

// Between machines an NCCL that can hang registers nothing any more, and one that cannot
// everything. The last test that registers, since the process stays without.
void leavesMemoryUnregistered() {
  unsetenv("NCCL_GRAPH_REGISTER");
  {
    fake::setVersion(23103);
    Ranks ranks(2, kNever, true);
    CHECK(ranks.all[0]->remark().empty() && std::getenv("NCCL_GRAPH_REGISTER") == nullptr);
    fake::setVersion(NCCL_VERSION_CODE);
    CHECK(Ranks(2, kNever).all[0]->remark().empty());
  }
  for (const char* setting : {"0", "1"}) {
    fake::setVersion(23102);
    Ranks ranks(2, kNever, true);
    CHECK(contains(ranks.all[1]->remark(), "NCCL 2.31.2 can stop for good"));
    CHECK(contains(ranks.all[1]->remark(), "GRAPH_REGISTER=1") == (*setting == '1'));
    CHECK(std::string(std::getenv("NCCL_GRAPH_REGISTER")) == setting);  // one of the user's stays
    ranks.connect();
    const std::shared_ptr<void> gradients = allocateForCollectives(1 << 20);
    ranks.each([&](NcclCommunicator& rank) { rank.prepare(gradients.get()); });
    CHECK(fake::registrations() == 0 && fake::collectiveAllocations() == 0);
    setenv("NCCL_GRAPH_REGISTER", "1", 1);
  }
  unsetenv("NCCL_GRAPH_REGISTER");
  fake::setVersion(NCCL_VERSION_CODE);
}

void leavesInPeace() {
  const int before = fake::destroyed();
  const int abortedBefore = fake::aborted();
  {
    Ranks ranks(3, kNever);
    ranks.connect();
  }
  CHECK(fake::destroyed() == before + 3 && fake::aborted() == abortedBefore);
  CHECK(fake::communicators() == 0);
}

void followsTheRules() { CHECK(fake::misuses() == 0); }

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"collectives of 1, 2 and 3 ranks on host memory", computes},
              {"collectives on device memory and on a program's stream", computesOnTheDevice},
              {"wrong use is refused and breaks nothing", refuses},
              {"a rank that does not come", givesUp},
              {"a rank that does not connect", givesUpConnecting},
              {"abort of a blocked operation", [] { abortsFromAnotherThread(true); }},
              {"abort while connecting", [] { abortsFromAnotherThread(false); }},
              {"an error of the transport", reportsAPeersEnd},
              {"a program's collective in vain", [] { watchesPrograms(false); }},
              {"a program's collective that fails", [] { watchesPrograms(true); }},
              {"memory is registered once and in time", registersMemory},
              {"collectives come onto their streams one at a time", launchesOneAtATime},
              {"memory stays unregistered where NCCL could hang", leavesMemoryUnregistered},
              {"a finished communicator leaves in peace", leavesInPeace},
              {"no call that NCCL forbids", followsTheRules}});
}
