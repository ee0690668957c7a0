// Convolutions and their gradients as operation graphs of cuDNN.
#pragma once

#include <string>
#include <vector>

#include "../../core/ops/conv.h"
#include "cudnn.h"

namespace onehour::cuda {

// What the products of a graph may be computed with. `fp32` is exact: no tensor cores, no rounded
// inputs, no transforms. Sums are fp32 in each.
enum class Arithmetic { fp32, tf32, bf16, fp16 };

enum class Pattern {
  forward,            // y = x * w
  forwardStatistics,  // and Σy, Σy² by channel
  backwardData,       // dx from dy and w
  backwardWeight,     // dw from x and dy, in the type of the activations
};

// Names of a graph's tensors: x and y stand for their gradients too.
enum TensorId : int64_t { xTensor = 1, wTensor, yTensor, squareTensor, sumTensor, squareSumTensor };

// A finalized graph with what it consists of.
struct OperationGraph {
  std::string name;    // pattern, arithmetic and shapes: equal names are equal graphs
  std::string family;  // pattern and arithmetic
  Arithmetic arithmetic;
  std::vector<Descriptor> parts;  // each refers to earlier ones
  Descriptor graph{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

std::string nameOf(Pattern pattern, Arithmetic arithmetic, const Convolution& problem);

// Throws where cuDNN knows no such graph.
OperationGraph describe(const Target& target, Pattern pattern, Arithmetic arithmetic,
                        const Convolution& problem);

}  // namespace onehour::cuda
