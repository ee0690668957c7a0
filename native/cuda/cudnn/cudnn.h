// cuDNN's graph interface in C++: descriptors that free themselves, failures as errors, and the
// device that plans are made for.
#pragma once

#include <cudnn.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../runtime/cuda.h"

#if CUDNN_VERSION < 90800
#error "cuDNN 9.8 or later is needed"
#endif

namespace onehour::cuda {

// Throws an Error that names the call, cuDNN's status and its own account of what went wrong.
[[noreturn]] void throwCudnnError(cudnnStatus_t status, const char* call);

inline void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS) throwCudnnError(status, call);
}

// Checks a call of cuDNN.
#define ONEHOUR_CUDNN(call) ::onehour::cuda::check((call), #call)

// What cuDNN says about the last failure on this thread.
std::string lastCudnnMessage();

// A backend descriptor: attributes are set, then it is finalized and only read. It must outlive the
// descriptors that refer to it.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    ONEHOUR_CUDNN(cudnnBackendCreateDescriptor(type, handle_.out()));
  }

  template <typename T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    return set(name, std::span<const T>(&value, 1));
  }
  template <typename T>
  Descriptor& set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    return setRaw(name, attributeType<T>(), values.size(), values.data());
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    return setDescriptors(name, {value.handle()});
  }
  Descriptor& setDescriptors(cudnnBackendAttributeName_t name,
                             const std::vector<cudnnBackendDescriptor_t>& handles) {
    return setRaw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, handles.size(), handles.data());
  }

  Descriptor& finalize() {
    ONEHOUR_CUDNN(cudnnBackendFinalize(handle()));
    return *this;
  }
  // False where cuDNN cannot do what the descriptor says; lastCudnnMessage() says why.
  bool tryFinalize() { return cudnnBackendFinalize(handle()) == CUDNN_STATUS_SUCCESS; }

  // The values of an attribute, at most `most` of them.
  template <typename T>
  std::vector<T> get(cudnnBackendAttributeName_t name, size_t most) const {
    std::vector<T> values(most);
    int64_t count = 0;
    ONEHOUR_CUDNN(cudnnBackendGetAttribute(handle(), name, attributeType<T>(),
                                           static_cast<int64_t>(most), &count, values.data()));
    values.resize(std::min(most, static_cast<size_t>(std::max<int64_t>(count, 0))));
    return values;
  }
  int64_t integer(cudnnBackendAttributeName_t name) const { return get<int64_t>(name, 1).at(0); }
  std::string text(cudnnBackendAttributeName_t name) const;
  // Descriptors of one type that are read from an attribute, as many as there are.
  std::vector<Descriptor> descriptors(cudnnBackendAttributeName_t name,
                                      cudnnBackendDescriptorType_t type) const;

  cudnnBackendDescriptor_t handle() const { return handle_.get(); }

 private:
  template <typename T>
  static constexpr cudnnBackendAttributeType_t attributeType() {
    if constexpr (std::is_same_v<T, int64_t>)
      return CUDNN_TYPE_INT64;
    else if constexpr (std::is_same_v<T, float>)
      return CUDNN_TYPE_FLOAT;
    else if constexpr (std::is_same_v<T, bool>)
      return CUDNN_TYPE_BOOLEAN;
    else if constexpr (std::is_same_v<T, char>)
      return CUDNN_TYPE_CHAR;
    else if constexpr (std::is_same_v<T, void*>)
      return CUDNN_TYPE_VOID_PTR;
    else if constexpr (std::is_same_v<T, cudnnHandle_t>)
      return CUDNN_TYPE_HANDLE;
    else if constexpr (std::is_same_v<T, cudnnDataType_t>)
      return CUDNN_TYPE_DATA_TYPE;
    else if constexpr (std::is_same_v<T, cudnnConvolutionMode_t>)
      return CUDNN_TYPE_CONVOLUTION_MODE;
    else if constexpr (std::is_same_v<T, cudnnPointwiseMode_t>)
      return CUDNN_TYPE_POINTWISE_MODE;
    else if constexpr (std::is_same_v<T, cudnnReduceTensorOp_t>)
      return CUDNN_TYPE_REDUCTION_OPERATOR_TYPE;
    else if constexpr (std::is_same_v<T, cudnnGenStatsMode_t>)
      return CUDNN_TYPE_GENSTATS_MODE;
    else if constexpr (std::is_same_v<T, cudnnBackendHeurMode_t>)
      return CUDNN_TYPE_HEUR_MODE;
    else if constexpr (std::is_same_v<T, cudnnBackendNumericalNote_t>)
      return CUDNN_TYPE_NUMERICAL_NOTE;
    else if constexpr (std::is_same_v<T, cudnnBackendBehaviorNote_t>)
      return CUDNN_TYPE_BEHAVIOR_NOTE;
    else
      static_assert(!sizeof(T), "cuDNN has no attributes of this type");
  }
  Descriptor& setRaw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                     size_t count, const void* values);

  Owned<cudnnBackendDescriptor_t, cudnnBackendDestroyDescriptor> handle_;
};

// What plans are made for: this process's GPU, or one that is only described.
class Target {
 public:
  // The current device, opened at the first call; one process uses one GPU.
  static Target& current();
  // The device with a handle of its own, for a thread that makes plans.
  static std::unique_ptr<Target> another(int ordinal);
  // A device as cuDNN describes it in JSON: its plans can be made and never run.
  explicit Target(const std::string& properties);

  // Sets what a descriptor is made for: by the handle, or by the description where the attribute
  // for it exists.
  void bind(Descriptor& descriptor, std::optional<cudnnBackendAttributeName_t> handle,
            std::optional<cudnnBackendAttributeName_t> description) const;

  // Runs a plan on the stream; from any thread.
  void execute(const Descriptor& plan, const Descriptor& pack, cudaStream_t stream);
  // Lets go of the stream of the last plan, before it ends.
  void leaveStream() noexcept;

  // The device and cuDNN, for the names of cached plans.
  const std::string& name() const { return name_; }

 private:
  Target();

  Owned<cudnnHandle_t, cudnnDestroy> handle_;
  std::optional<Descriptor> description_;
  std::string name_;
  std::mutex mutex_;  // the handle's stream is set, then used
};

}  // namespace onehour::cuda
