#include "graph-builder.h"

#include <span>
#include <stdexcept>
#include <utility>

namespace onehour::cuda {
namespace {

// Bytes that the address of every tensor is a multiple of.
constexpr int64_t alignment = 16;

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

}  // namespace

cudnnDataType_t typeOf(DataType type) {
  switch (type) {
    case DataType::bf16:
      return CUDNN_DATA_BFLOAT16;
    case DataType::f16:
      return CUDNN_DATA_HALF;
    default:
      return CUDNN_DATA_FLOAT;
  }
}

GraphBuilder::GraphBuilder(OperationGraph& graph) : graph_(graph) {
  graph_.parts.reserve(64);  // references to parts stay valid
}

const Descriptor& GraphBuilder::keep(Descriptor part) {
  if (graph_.parts.size() == graph_.parts.capacity()) {
    throw std::logic_error("a graph has more parts than there is room for");
  }
  return graph_.parts.emplace_back(std::move(part));
}

void GraphBuilder::add(Descriptor operation) {
  operations_.push_back(keep(std::move(operation.finalize())).handle());
}

const Descriptor& GraphBuilder::tensor(int64_t id, cudnnDataType_t type, const Extents& extents,
                                       bool isVirtual) {
  const auto [n, c, h, w] = extents;
  const Extents strides{h * w * c, 1, w * c, c};
  Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const int64_t>(extents))
      .set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const int64_t>(strides))
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment)
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, isVirtual)
      .finalize();
  return keep(std::move(descriptor));
}

void GraphBuilder::convolve(Pattern pattern, const Convolution& problem, const Descriptor& x,
                            const Descriptor& w, const Descriptor& y) {
  const Names& names = namesOf(pattern);
  Descriptor operation(names.operation);
  operation.set(names.convolution, keep(convolution(problem)))
      .set(names.x, x)
      .set(names.w, w)
      .set(names.y, y)
      .set(names.alpha, 1.0f)
      .set(names.beta, 0.0f);
  add(std::move(operation));
}

Descriptor GraphBuilder::pointwiseOperation(cudnnPointwiseMode_t mode) {
  Descriptor description(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  description.set(CUDNN_ATTR_POINTWISE_MODE, mode)
      .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT)
      .finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, keep(std::move(description)));
  return operation;
}

void GraphBuilder::pointwise(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor* b,
                             const Descriptor& result) {
  Descriptor operation = pointwiseOperation(mode);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a);
  if (b != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result);
  add(std::move(operation));
}

void GraphBuilder::reluGradient(const Descriptor& dy, const Descriptor& x, const Descriptor& dx) {
  Descriptor operation = pointwiseOperation(CUDNN_POINTWISE_RELU_BWD);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, dy)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, dx);
  add(std::move(operation));
}

void GraphBuilder::sum(const Descriptor& values, const Descriptor& result,
                       [[maybe_unused]] bool repeats) {
  Descriptor reduction(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  reduction.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_REDUCE_TENSOR_ADD)
      .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
#if CUDNN_VERSION >= 91100
  reduction.set(CUDNN_ATTR_REDUCTION_IS_DETERMINISTIC, repeats);
#endif
  reduction.finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, keep(std::move(reduction)))
      .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, values)
      .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, result);
  add(std::move(operation));
}

void GraphBuilder::finish(const Target& target) {
  target.bind(graph_.graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, {});
  graph_.graph.setDescriptors(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_).finalize();
}

}  // namespace onehour::cuda
