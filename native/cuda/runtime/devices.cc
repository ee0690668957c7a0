// Lists GPUs without opening them: a context takes some hundred MB of a GPU's memory, and the
// process that lists them is not the one that computes on them.
#include "devices.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "../../core/error.h"
#include "../../core/words.h"
#include "cuda.h"

namespace onehour::cuda {
namespace {

constexpr int leastCapability = 80;  // bf16 and tf32 arithmetic

// Less free memory than a context and the libraries' own buffers take.
constexpr size_t leastFreeBytes = size_t{512} << 20;

std::string version(int value) {  // 13000 is CUDA 13.0
  return std::to_string(value / 1000) + "." + std::to_string(value % 1000 / 10);
}

std::string capability(const cudaDeviceProp& properties) {
  return std::to_string(properties.major) + "." + std::to_string(properties.minor);
}

std::string bus(const cudaDeviceProp& properties) {
  char name[16];
  std::snprintf(name, sizeof name, "%04x:%02x:%02x.0", properties.pciDomainID, properties.pciBusID,
                properties.pciDeviceID);
  return name;
}

std::string visibleDevices() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return visible ? " (CUDA_VISIBLE_DEVICES is \"" + std::string(visible) + "\")" : "";
}

int servedByDriver() {
  int version = 0;
  ONEHOUR_CUDA(cudaDriverGetVersion(&version));
  return version;
}

int countGpus() {
  const int driver = servedByDriver();
  if (driver == 0) {
    throw Error("ERR_DEVICE", "CUDA",
                "there is no GPU here that CUDA can use: no NVIDIA driver is installed; use the "
                "CPU (--device cpu), or install the driver where there is an NVIDIA GPU");
  }
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    throw Error("ERR_DEVICE", "CUDA",
                "the NVIDIA driver is too old: it serves CUDA " + version(driver) +
                    ", but this was built with CUDA " + version(CUDART_VERSION) +
                    "; update the driver, or build with an older CUDA toolkit (" + buildCommand() +
                    ")");
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    throw Error("ERR_DEVICE", "CUDA",
                "there is no GPU here that CUDA can use" + visibleDevices() +
                    "; nvidia-smi shows those that the driver sees, --device cpu does without");
  }
  check(status, "cudaGetDeviceCount");
  return count;
}

// Why a GPU cannot be used, as far as that is known before it is opened; empty if it can.
std::string problemOf(const cudaDeviceProp& properties, int ordinal) {
  if (10 * properties.major + properties.minor < leastCapability) {
    return "has compute capability " + capability(properties) +
           ", expected 8.0 or later; choose other GPUs with CUDA_VISIBLE_DEVICES, or use "
           "--device cpu";
  }
  int mode = cudaComputeModeDefault;
  ONEHOUR_CUDA(cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, ordinal));
  if (mode == cudaComputeModeProhibited) {
    return "is closed to computing (its compute mode is Prohibited); open it with nvidia-smi -i " +
           std::to_string(ordinal) + " -c DEFAULT, or choose another with CUDA_VISIBLE_DEVICES";
  }
  return "";
}

cudaDeviceProp propertiesOf(int ordinal) {
  cudaDeviceProp properties{};
  ONEHOUR_CUDA(cudaGetDeviceProperties(&properties, ordinal));
  return properties;
}

}  // namespace

std::string driverVersion() { return version(servedByDriver()); }

std::string describe(const cudaDeviceProp& properties, int ordinal) {
  return "GPU " + std::to_string(ordinal) + " (" + properties.name + ")";
}

std::vector<DeviceListing> listGpus() {
  std::vector<DeviceListing> result;
  const int count = countGpus();
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    const cudaDeviceProp properties = propertiesOf(ordinal);
    DeviceListing listing;
    listing.ordinal = ordinal;
    listing.name = properties.name;
    listing.kind = "cuda";
    listing.capability = capability(properties);
    listing.memoryBytes = properties.totalGlobalMem;
    listing.bus = bus(properties);
    listing.problem = problemOf(properties, ordinal);
    result.push_back(std::move(listing));
  }
  return result;
}

cudaDeviceProp openGpu(int ordinal) {
  const int count = countGpus();
  if (ordinal < 0 || ordinal >= count) {
    throw Error("ERR_DEVICE", "CUDA",
                "there is no GPU " + std::to_string(ordinal) + ": CUDA sees " +
                    std::to_string(count) + visibleDevices() +
                    "; start at most as many workers on this machine");
  }
  const cudaDeviceProp properties = propertiesOf(ordinal);
  const std::string gpu = describe(properties, ordinal);
  if (const std::string problem = problemOf(properties, ordinal); !problem.empty()) {
    throw Error("ERR_DEVICE", "CUDA", gpu + " " + problem);
  }
  size_t free = 0;
  size_t total = 0;
  try {
    ONEHOUR_CUDA(cudaSetDevice(ordinal));
    ONEHOUR_CUDA(cudaFree(nullptr));
    ONEHOUR_CUDA(cudaMemGetInfo(&free, &total));
  } catch (const Error& error) {
    throw Error(error.code, error.library, gpu + ": " + error.what());
  }
  if (free < leastFreeBytes) {
    throw Error("ERR_MEMORY", "CUDA",
                gpu + " is full: " + std::to_string(free >> 20) + " of its " +
                    std::to_string(total >> 20) +
                    " MiB are free; nvidia-smi shows who uses it, CUDA_VISIBLE_DEVICES chooses "
                    "another");
  }
  return properties;
}

}  // namespace onehour::cuda
