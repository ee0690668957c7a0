// Graphs of convolutions by their pattern.
#include "conv-graph.h"

#include "graph-builder.h"

namespace onehour::cuda {
namespace {

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
  static constexpr const char* arithmetics[] = {"fp32", "tf32", "bf16", "fp16"};
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
  GraphBuilder build(result);
  const auto& [n, h, w, c, k, r, s, p, q, stride, padding, dilation, groups, type] = problem;
  const cudnnDataType_t element = typeOf(type);
  const Descriptor& x = build.tensor(xTensor, element, {n, c, h, w});
  // cuDNN takes the number of groups from the channels of images and filters.
  const Descriptor& filter = build.tensor(wTensor, element, {k, problem.filterChannels(), r, s});
  const Descriptor& y = build.tensor(yTensor, element, {n, k, p, q});
  build.convolve(pattern, problem, x, filter, y);
  if (pattern == Pattern::forwardStatistics) {
    const Descriptor& square = build.tensor(squareTensor, CUDNN_DATA_FLOAT, {n, k, p, q}, true);
    build.pointwise(CUDNN_POINTWISE_MUL, y, &y, square);
    build.sum(y, build.tensor(sumTensor, CUDNN_DATA_FLOAT, {1, k, 1, 1}));
    build.sum(square, build.tensor(squareSumTensor, CUDNN_DATA_FLOAT, {1, k, 1, 1}));
  }
  build.finish(target);
  return result;
}

}  // namespace onehour::cuda
