// Tests of the messages about GPUs that cannot be used, on the fake of CUDA's runtime.
#include "../../../cuda/runtime/devices.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "../../../core/error.h"
#include "../../check.h"
#include "../../fakes/cuda-runtime.h"

namespace onehour::cuda {
namespace {

using fake::Gpu;
using fake::opened;
using test::contains;
using test::thrown;

void listsGpus() {
  Gpu old;
  old.major = 7;
  old.minor = 5;
  Gpu closed;
  closed.mode = cudaComputeModeProhibited;
  fake::start({{Gpu{}, old, closed}});
  const std::vector<DeviceListing> list = listGpus();
  CHECK(list.size() == 3);
  CHECK(list[0].name == "emulated GPU" && list[0].kind == "cuda" && list[0].capability == "9.0");
  CHECK(list[0].memoryBytes == fake::memoryBytes && list[0].problem.empty());
  CHECK(list[0].bus == "0000:1b:00.0" && list[1].bus == "0000:1c:00.0");
  CHECK(list[1].ordinal == 1 && contains(list[1].problem, "compute capability 7.5, expected 8.0"));
  CHECK(contains(list[2].problem, "nvidia-smi -i 2 -c DEFAULT"));
  CHECK(opened() == 0);
}

void namesWhatTheDriverServes() {
  fake::start({{}, 12080});
  CHECK(driverVersion() == "12.8");
  fake::start({{}, 13000});
  CHECK(driverVersion() == "13.0");
}

void explainsWhyThereIsNone() {
  fake::start({{}, 0});
  Error error = thrown([] { listGpus(); });
  CHECK(error.code == "ERR_DEVICE");
  CHECK(contains(error.what(), "there is no GPU here that CUDA can use: no NVIDIA driver"));
  fake::start({{}, 12020, cudaErrorInsufficientDriver});
  error = thrown([] { openGpu(0); });
  CHECK(contains(error.what(), "too old: it serves CUDA 12.2, but this was built with CUDA 13.0"));
  setenv("CUDA_VISIBLE_DEVICES", "7", 1);
  fake::start({{}, 13000, cudaErrorNoDevice});
  error = thrown([] { listGpus(); });
  CHECK(contains(error.what(), "(CUDA_VISIBLE_DEVICES is \"7\")"));
  unsetenv("CUDA_VISIBLE_DEVICES");
}

void namesTheGpuThatDoesNotOpen() {
  Gpu old;
  old.major = 7;
  Gpu taken;
  taken.opening = cudaErrorDevicesUnavailable;
  Gpu full;
  full.freeBytes = size_t{100} << 20;
  fake::start({{Gpu{}, old, taken, full}});
  CHECK(openGpu(0).major == 9);
  CHECK(opened() == 1);
  Error error = thrown([] { openGpu(1); });
  CHECK(error.code == "ERR_DEVICE");
  CHECK(contains(error.what(), "GPU 1 (emulated GPU) has compute capability 7.0"));
  CHECK(opened() == 1);
  error = thrown([] { openGpu(2); });
  CHECK(contains(error.what(), "GPU 2 (emulated GPU): cudaFree"));
  CHECK(contains(error.what(), "another process has this GPU for itself"));
  error = thrown([] { openGpu(3); });
  CHECK(error.code == "ERR_MEMORY");
  CHECK(contains(error.what(), "GPU 3 (emulated GPU) is full: 100 of its 8192 MiB are free"));
  error = thrown([] { openGpu(4); });
  CHECK(contains(error.what(), "there is no GPU 4: CUDA sees 4"));
}

}  // namespace
}  // namespace onehour::cuda

int main() {
  using namespace onehour::cuda;
  return onehour::test::run({{"GPUs are listed without opening them", listsGpus},
                             {"what the driver serves", namesWhatTheDriverServes},
                             {"why there is no GPU", explainsWhyThereIsNone},
                             {"a GPU that does not open is named", namesTheGpuThatDoesNotOpen}});
}
