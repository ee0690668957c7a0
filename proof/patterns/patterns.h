// Graphs of cuDNN that a convolution of a network could become a part of, to be measured.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "../../native/cuda/cudnn/conv-graph.h"

namespace onehour::cuda {

// A graph with the tensors that it reads and writes.
struct PatternGraph {
  struct Operand {
    int64_t id;
    size_t bytes;
  };
  OperationGraph graph;
  std::vector<Operand> operands;

  size_t bytes() const;
};

// A way to use a convolution.
struct ConvPattern {
  // That computes it: there already, compiled first, or there already for fp16 alone (cuDNN's
  // chain).
  enum class Engine { present, compiled, chain };

  std::string name;
  Engine engine;
  bool usesInput;  // has to do with the batch norm before it, or with its input's gradient
  // Throws where cuDNN knows no such graph.
  std::function<PatternGraph(const Target&, const Convolution&)> build;
};

const std::vector<ConvPattern>& convPatterns();

}  // namespace onehour::cuda
