// What is said of GPUs that cannot be used, against a runtime that reports whatever a test wants.
#include "../../../cuda/runtime/devices.h"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "../../../core/error.h"
#include "../../check.h"

namespace {

struct Gpu {
  int major = 9, minor = 0;
  int mode = cudaComputeModeDefault;
  cudaError_t opening = cudaSuccess;
  size_t freeBytes = size_t{40} << 30;
};

// The machine.
int driverVersion = 13000;
cudaError_t counting = cudaSuccess;
std::vector<Gpu> gpus;
size_t current = 0;
int opened = 0;

void machine(std::vector<Gpu> installed, int driver = 13000, cudaError_t status = cudaSuccess) {
  gpus = std::move(installed);
  driverVersion = driver;
  counting = status;
  opened = 0;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t status) {
  return status == cudaErrorDevicesUnavailable ? "cudaErrorDevicesUnavailable" : "cudaError";
}
const char* cudaGetErrorString(cudaError_t) { return "a failure"; }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = driverVersion;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(gpus.size());
  return counting;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int ordinal) {
  const Gpu& gpu = gpus[static_cast<size_t>(ordinal)];
  *properties = {};
  std::string("NVIDIA X").copy(properties->name, sizeof(properties->name) - 1);
  properties->major = gpu.major;
  properties->minor = gpu.minor;
  properties->totalGlobalMem = size_t{80} << 30;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int ordinal) {
  *value = gpus[static_cast<size_t>(ordinal)].mode;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int ordinal) {
  current = static_cast<size_t>(ordinal);
  return cudaSuccess;
}
cudaError_t cudaFree(void*) {
  ++opened;
  return gpus[current].opening;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = gpus[current].freeBytes;
  *total = size_t{80} << 30;
  return cudaSuccess;
}

namespace onehour::cuda {
namespace {

using test::contains;
using test::thrown;

void listsGpus() {
  Gpu old;
  old.major = 7;
  old.minor = 5;
  Gpu closed;
  closed.mode = cudaComputeModeProhibited;
  machine({Gpu{}, old, closed});
  const std::vector<DeviceListing> list = listGpus();
  CHECK(list.size() == 3);
  CHECK(list[0].name == "NVIDIA X" && list[0].kind == "cuda" && list[0].capability == "9.0");
  CHECK(list[0].memoryBytes == size_t{80} << 30 && list[0].problem.empty());
  CHECK(list[1].ordinal == 1 && contains(list[1].problem, "compute capability 7.5, expected 8.0"));
  CHECK(contains(list[2].problem, "nvidia-smi -i 2 -c DEFAULT"));
  CHECK(opened == 0);
}

void tellsWhatTheDriverServes() {
  machine({}, 12080);
  CHECK(driverVersion() == "12.8");
  machine({}, 13000);
  CHECK(driverVersion() == "13.0");
}

void tellsWhyThereIsNone() {
  machine({}, 0);
  Error error = thrown([] { listGpus(); });
  CHECK(error.code == "ERR_DEVICE");
  CHECK(contains(error.what(), "there is no GPU here that CUDA can use: no NVIDIA driver"));
  machine({}, 12020, cudaErrorInsufficientDriver);
  error = thrown([] { openGpu(0); });
  CHECK(contains(error.what(), "too old: it serves CUDA 12.2, but this was built with CUDA 13.0"));
  setenv("CUDA_VISIBLE_DEVICES", "7", 1);
  machine({}, 13000, cudaErrorNoDevice);
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
  machine({Gpu{}, old, taken, full});
  CHECK(openGpu(0).major == 9);
  CHECK(opened == 1);
  Error error = thrown([] { openGpu(1); });
  CHECK(error.code == "ERR_DEVICE");
  CHECK(contains(error.what(), "GPU 1 (NVIDIA X) has compute capability 7.0"));
  CHECK(opened == 1);
  error = thrown([] { openGpu(2); });
  CHECK(contains(error.what(), "GPU 2 (NVIDIA X): cudaFree"));
  CHECK(contains(error.what(), "another process has this GPU for itself"));
  error = thrown([] { openGpu(3); });
  CHECK(error.code == "ERR_MEMORY");
  CHECK(contains(error.what(), "GPU 3 (NVIDIA X) is full: 100 of its 81920 MiB are free"));
  error = thrown([] { openGpu(4); });
  CHECK(contains(error.what(), "there is no GPU 4: CUDA sees 4"));
}

}  // namespace
}  // namespace onehour::cuda

int main() {
  using namespace onehour::cuda;
  return onehour::test::run({{"GPUs are listed without opening them", listsGpus},
                             {"what the driver serves", tellsWhatTheDriverServes},
                             {"why there is no GPU", tellsWhyThereIsNone},
                             {"a GPU that does not open is named", namesTheGpuThatDoesNotOpen}});
}
