// Builds operation graphs of cuDNN, part by part. cuDNN wants the extents of a tensor in the order
// N, C, H, W for every layout; the strides are those of NHWC and KRSC.
#pragma once

#include <array>
#include <vector>

#include "conv-graph.h"

namespace onehour::cuda {

cudnnDataType_t typeOf(DataType type);

class GraphBuilder {
 public:
  using Extents = std::array<int64_t, 4>;  // N, C, H, W

  // Puts the parts into the graph, which refers to them.
  explicit GraphBuilder(OperationGraph& graph);

  // A tensor of the graph; one that is virtual exists between operations alone.
  const Descriptor& tensor(int64_t id, cudnnDataType_t type, const Extents& extents,
                           bool isVirtual = false);

  // y = x * w, or one of its gradients, by the pattern's direction.
  void convolve(Pattern pattern, const Convolution& problem, const Descriptor& x,
                const Descriptor& w, const Descriptor& y);

  // result = mode(a, b), or mode(a) without b, computed in fp32.
  void pointwise(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor* b,
                 const Descriptor& result);

  // dx = dy where x is positive, else 0.
  void reluGradient(const Descriptor& dy, const Descriptor& x, const Descriptor& dx);

  // result = Σ values, over the extents that are 1 in the result. It `repeats` if the order does
  // not change from run to run; else the result must be zero before.
  void sum(const Descriptor& values, const Descriptor& result, bool repeats = true);

  // Adds an operation of another kind.
  void add(Descriptor operation);

  // Throws where cuDNN knows no such graph.
  void finish(const Target& target);

 private:
  const Descriptor& keep(Descriptor part);
  Descriptor pointwiseOperation(cudnnPointwiseMode_t mode);

  OperationGraph& graph_;
  std::vector<cudnnBackendDescriptor_t> operations_;
};

}  // namespace onehour::cuda
