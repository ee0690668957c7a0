// Turns cuDNN's failures into errors, and holds the process's handle.
#include "cudnn.h"

#include <algorithm>
#include <string>

#include "../runtime/library-version.h"

namespace onehour::cuda {
namespace {

bool isOutOfMemory(cudnnStatus_t status) {
  return status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ||
         status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
}

// What to try, by failure.
const char* hintFor(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED:
      return "; one of cuDNN's own libraries was not found or does not load: put all libcudnn_*.so "
             "files into one folder and name it in LD_LIBRARY_PATH";
    case CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH:
      return "; libraries of two versions of cuDNN are mixed: LD_LIBRARY_PATH should name the "
             "folder of one";
    case CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING:
      return "; cuDNN compiles kernels with NVRTC: install libnvrtc of the same CUDA version";
    default:
      return isOutOfMemory(status) ? kMemoryHint : "";
  }
}

}  // namespace

std::string lastCudnnMessage() {
  char message[1024] = "";
  cudnnGetLastErrorString(message, sizeof message);
  return message;
}

void throwCudnnError(cudnnStatus_t status, const char* call) {
  const std::string account = lastCudnnMessage();
  throw Error(isOutOfMemory(status) ? "ERR_MEMORY" : "ERR_DEVICE", "cuDNN",
              std::string(call) + " failed with " + cudnnGetErrorString(status) +
                  (account.empty() ? "" : ": " + account) + hintFor(status));
}

Descriptor& Descriptor::setRaw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                               size_t count, const void* values) {
  ONEHOUR_CUDNN(
      cudnnBackendSetAttribute(handle(), name, type, static_cast<int64_t>(count), values));
  return *this;
}

std::string Descriptor::text(cudnnBackendAttributeName_t name) const {
  int64_t length = 0;
  ONEHOUR_CUDNN(cudnnBackendGetAttribute(handle(), name, CUDNN_TYPE_CHAR, 0, &length, nullptr));
  const std::vector<char> characters = get<char>(name, static_cast<size_t>(length));
  return {characters.begin(), std::find(characters.begin(), characters.end(), '\0')};
}

std::vector<Descriptor> Descriptor::descriptors(cudnnBackendAttributeName_t name,
                                                cudnnBackendDescriptorType_t type) const {
  int64_t count = 0;
  ONEHOUR_CUDNN(
      cudnnBackendGetAttribute(handle(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr));
  std::vector<Descriptor> results;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < count; ++i) handles.push_back(results.emplace_back(type).handle());
  ONEHOUR_CUDNN(cudnnBackendGetAttribute(handle(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR, count,
                                         &count, handles.data()));
  results.erase(results.begin() + std::min<int64_t>(count, std::ssize(results)), results.end());
  return results;
}

Target& Target::current() {
  static Target& target = *new Target;  // never destroyed: at exit the device may be gone already
  return target;
}

std::unique_ptr<Target> Target::another(int ordinal) {
  ONEHOUR_CUDA(cudaSetDevice(ordinal));
  return std::unique_ptr<Target>(new Target);
}

Target::Target() {
  checkVersion("cuDNN", CUDNN_VERSION, cudnnGetVersion());
  ONEHOUR_CUDNN(cudnnCreate(handle_.out()));
  cudaDeviceProp properties{};
  ONEHOUR_CUDA(cudaGetDeviceProperties(&properties, currentDevice()));
  name_ = std::string(properties.name) + " " + std::to_string(properties.multiProcessorCount) +
          ", cuDNN " + versionName(cudnnGetVersion());
}

Target::Target(const std::string& properties) {
  checkVersion("cuDNN", CUDNN_VERSION, cudnnGetVersion());
  description_.emplace(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  const char* text = properties.c_str();  // with its end
  description_
      ->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
            std::span<const char>(text, properties.size() + 1))
      .finalize();
  name_ = "a described device, cuDNN " + versionName(cudnnGetVersion());
}

void Target::bind(Descriptor& descriptor, std::optional<cudnnBackendAttributeName_t> handle,
                  std::optional<cudnnBackendAttributeName_t> description) const {
  if (handle_ && handle) descriptor.set(*handle, handle_.get());
  if (description_ && description) descriptor.set(*description, *description_);
}

void Target::execute(const Descriptor& plan, const Descriptor& pack, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  ONEHOUR_CUDNN(cudnnSetStream(handle_.get(), stream));
  ONEHOUR_CUDNN(cudnnBackendExecute(handle_.get(), plan.handle(), pack.handle()));
}

void Target::leaveStream() noexcept {
  const std::lock_guard lock(mutex_);
  static_cast<void>(cudnnSetStream(handle_.get(), nullptr));
}

}  // namespace onehour::cuda
