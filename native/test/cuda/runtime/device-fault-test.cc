// Tests of the executor on the CUDA backend, over the fake of CUDA's runtime: what comes of
// steps in flight when the device breaks.
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../../../core/executor.h"
#include "../../../cuda/ops/kernels.h"
#include "../../../cuda/runtime/backend.h"
#include "../../check.h"
#include "../../fakes/cuda-runtime.h"
#include "../../programs.h"

namespace onehour::cuda {
namespace {

// Until then a step stays on the device.
std::shared_future<void> release;

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {{"hold", {"x:f32[L] -> y:f32[L]", [](const Instruction&, PrepareContext&) {
                      return makeKernel([](Stream& stream) {
                        fake::post(handleOf(stream), [] { release.wait(); });
                      });
                    }}}};
});

}  // namespace

}  // namespace onehour::cuda

namespace onehour::test {
namespace {

using Clock = Worker::Clock;

constexpr std::chrono::seconds kLimit{10};

bool within(const std::function<bool()>& condition) {
  const Clock::time_point start = Clock::now();
  while (!condition() && Clock::now() - start < kLimit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return condition();
}

// How an operation ended.
struct End {
  std::atomic<int> calls{0};
  std::exception_ptr error;

  void come(std::exception_ptr how) {
    error = std::move(how);
    ++calls;
  }
};

// The device breaks while two steps, a read and a write are on it. The first one's callback waits
// until the executor is gone, so the others' come after that; `disposed` and `alone` say who frees
// the executor and whether the backend goes with it.
void endsEachOnce(bool disposed, bool alone) {
  fake::start();
  std::promise<void> gate;
  cuda::release = gate.get_future().share();
  std::shared_ptr<Backend> backend = cuda::createCudaBackend({});
  auto executor = Executor::create(backend, {});
  if (alone) backend.reset();
  const std::weak_ptr<Executor> left = executor;
  const auto worker = executor->worker();

  std::array<End, 6> ends;
  auto& [loaded, first, second, read, written, queued] = ends;
  executor->load({{"p", program("compute hold | x=input+0:f32[4] -> y=output+0:f32[4]")}},
                 [&](std::exception_ptr error) { loaded.come(std::move(error)); });
  CHECK(within([&] { return loaded.calls == 1; }) && !loaded.error);

  std::atomic<bool> begun{false};
  std::atomic<bool> freed{false};
  executor->submit("p", 0, [&](std::exception_ptr error) {
    begun = true;
    CHECK(within([&] { return alone ? left.expired() : freed.load(); }));
    first.come(std::move(error));
  });
  executor->submit("p", 1, [&](std::exception_ptr error) { second.come(std::move(error)); });
  executor->read("param", 0, 64, [&](std::exception_ptr error, const std::vector<uint8_t>& bytes) {
    CHECK(bytes.empty());
    read.come(std::move(error));
  });
  executor->write("param", 0, std::vector<uint8_t>(64),
                  [&](std::exception_ptr error) { written.come(std::move(error)); });
  // Refused, but only when all of them are on the device.
  executor->measure("none", 0, 1,
                    [&](std::exception_ptr error, const auto&) { queued.come(std::move(error)); });
  CHECK(within([&] { return queued.calls == 1; }));

  // An error of the GPU's memory that was contained ends a process's use of it too.
  fake::breakDevice(alone ? cudaErrorContained : cudaErrorIllegalAddress);
  gate.set_value();
  CHECK(within([&] { return begun.load(); }));
  if (disposed) executor->dispose();
  executor.reset();
  worker->stop();
  if (!alone) {
    CHECK(worker->join(Clock::now() + kLimit));
    freed = true;
  }
  CHECK(within([&] { return first.calls + second.calls + read.calls + written.calls == 4; }));
  CHECK(worker->join(Clock::now() + kLimit));
  backend.reset();  // and with it the thread that calls
  for (const End& end : ends) CHECK(end.calls == 1);
  for (const End* end : {&first, &second, &read, &written}) {
    const Error error = thrown([&] {
      if (end->error) std::rethrow_exception(end->error);
    });
    CHECK(error.code == "ERR_DEVICE");
    CHECK(contains(error.what(), "the device is unusable for this process from here on"));
  }
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"a broken device, and the executor goes first", [] { endsEachOnce(false, false); }},
              {"likewise when it was disposed", [] { endsEachOnce(true, false); }},
              {"a broken device that goes with the executor", [] { endsEachOnce(false, true); }},
              {"likewise when it was disposed", [] { endsEachOnce(true, true); }}});
}
