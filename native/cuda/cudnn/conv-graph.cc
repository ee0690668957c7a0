// Builds operation graphs. cuDNN wants the extents of a tensor in the order N, C, H, W for every
// layout; the strides are those of NHWC and KRSC.
#include "conv-graph.h"

#include <array>

namespace onehour::cuda {
namespace {

using Extents = std::array<int64_t, 4>;  // N, C, H, W

// Bytes that the address of every tensor is a multiple of.
constexpr int64_t alignment = 16;

cudnnDataType_t typeOf(DataType type) {
  return type == DataType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

Descriptor tensor(TensorId id, cudnnDataType_t type, const Extents& extents,
                  bool isVirtual = false) {
  const auto [n, c, h, w] = extents;
  const Extents strides{h * w * c, 1, w * c, c};
  Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, int64_t{id})
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const int64_t>(extents))
      .set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const int64_t>(strides))
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment)
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, isVirtual)
      .finalize();
  return descriptor;
}

// Attributes of the three operations, which differ in their names alone.
struct Names {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
};

const Names& namesOf(Pattern pattern) {
  static const Names forward{CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
  static const Names data{CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
  static const Names weight{CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  switch (pattern) {
    case Pattern::backwardData:
      return data;
    case Pattern::backwardWeight:
      return weight;
    default:
      return forward;
  }
}

Descriptor convolution(const Convolution& problem) {
  const std::array<int64_t, 2> strides{problem.stride.height, problem.stride.width};
  const std::array<int64_t, 2> paddings{problem.padding.height, problem.padding.width};
  const std::array<int64_t, 2> dilations{problem.dilation.height, problem.dilation.width};
  Descriptor descriptor(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2})
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION)
      .set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span<const int64_t>(strides))
      .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::span<const int64_t>(paddings))
      .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::span<const int64_t>(paddings))
      .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::span<const int64_t>(dilations))
      .finalize();
  return descriptor;
}

// Builds a graph part by part: each `add` returns the place of the part.
class Builder {
 public:
  explicit Builder(OperationGraph& graph) : parts_(graph.parts) {
    parts_.reserve(16);  // references to parts stay valid
  }

  const Descriptor& add(Descriptor part) { return parts_.emplace_back(std::move(part)); }
  void addOperation(Descriptor operation) {
    operations_.push_back(add(std::move(operation)).handle());
  }

  // result = a·b
  void multiply(const Descriptor& a, const Descriptor& b, const Descriptor& result) {
    Descriptor mode(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    mode.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_MUL)
        .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT)
        .finalize();
    Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, add(std::move(mode)))
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result)
        .finalize();
    addOperation(std::move(operation));
  }

  // result = Σ values, over the extents that are 1 in the result, in an order that does not change
  // from run to run.
  void sum(const Descriptor& values, const Descriptor& result) {
    Descriptor reduction(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    reduction.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_REDUCE_TENSOR_ADD)
        .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
#if CUDNN_VERSION >= 91100
    reduction.set(CUDNN_ATTR_REDUCTION_IS_DETERMINISTIC, true);
#endif
    reduction.finalize();
    Descriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, add(std::move(reduction)))
        .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, values)
        .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, result)
        .finalize();
    addOperation(std::move(operation));
  }

  const std::vector<cudnnBackendDescriptor_t>& operations() const { return operations_; }

 private:
  std::vector<Descriptor>& parts_;
  std::vector<cudnnBackendDescriptor_t> operations_;
};

std::string extents(std::initializer_list<int64_t> values) {
  std::string text;
  for (int64_t value : values) {
    if (!text.empty()) text += 'x';
    text += std::to_string(value);
  }
  return text;
}

std::string familyOf(Pattern pattern, Arithmetic arithmetic) {
  static constexpr const char* patterns[] = {"conv2d", "conv2d-statistics", "conv2d-backward-data",
                                             "conv2d-backward-weight"};
  static constexpr const char* arithmetics[] = {"fp32", "tf32", "bf16"};
  return std::string(patterns[static_cast<int>(pattern)]) + " " +
         arithmetics[static_cast<int>(arithmetic)];
}

}  // namespace

std::string nameOf(Pattern pattern, Arithmetic arithmetic, const Convolution& problem) {
  const auto& [n, h, w, c, k, r, s, p, q, stride, padding, dilation, groups, type] = problem;
  std::string name = familyOf(pattern, arithmetic) + " x " + extents({n, h, w, c}) + " w " +
                     extents({k, r, s, problem.filterChannels()}) + " stride " +
                     extents({stride.height, stride.width}) + " padding " +
                     extents({padding.height, padding.width});
  if (dilation.height != 1 || dilation.width != 1) {
    name += " dilation " + extents({dilation.height, dilation.width});
  }
  return name;
}

OperationGraph describe(const Target& target, Pattern pattern, Arithmetic arithmetic,
                        const Convolution& problem) {
  OperationGraph result{
      nameOf(pattern, arithmetic, problem), familyOf(pattern, arithmetic), arithmetic, {}};
  Builder build(result);
  const auto& [n, h, w, c, k, r, s, p, q, stride, padding, dilation, groups, type] = problem;
  const cudnnDataType_t element = typeOf(type);
  const Descriptor& x = build.add(tensor(xTensor, element, {n, c, h, w}));
  // cuDNN takes the number of groups from the channels of images and filters.
  const Descriptor& filter =
      build.add(tensor(wTensor, element, {k, problem.filterChannels(), r, s}));
  const Descriptor& y = build.add(tensor(yTensor, element, {n, k, p, q}));

  const Names& names = namesOf(pattern);
  Descriptor operation(names.operation);
  operation.set(names.convolution, build.add(convolution(problem)))
      .set(names.x, x)
      .set(names.w, filter)
      .set(names.y, y)
      .set(names.alpha, 1.0f)
      .set(names.beta, 0.0f)
      .finalize();
  build.addOperation(std::move(operation));

  if (pattern == Pattern::forwardStatistics) {
    const Descriptor& square =
        build.add(tensor(squareTensor, CUDNN_DATA_FLOAT, {n, k, p, q}, true));
    build.multiply(y, y, square);
    build.sum(y, build.add(tensor(sumTensor, CUDNN_DATA_FLOAT, {1, k, 1, 1})));
    build.sum(square, build.add(tensor(squareSumTensor, CUDNN_DATA_FLOAT, {1, k, 1, 1})));
  }

  target.bind(result.graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, {});
  result.graph.setDescriptors(CUDNN_ATTR_OPERATIONGRAPH_OPS, build.operations()).finalize();
  return result;
}

}  // namespace onehour::cuda
