// A convolution of the program as a problem for cuDNN.
#pragma once

#include <vector>

#include "conv-graph.h"

namespace onehour::cuda {

struct ConvProblem {
  // Reads and checks a line whose op is one of conv.cc's.
  explicit ConvProblem(const Instruction& instruction);

  Convolution convolution;
  Arithmetic arithmetic;
  // The graphs that the line may be computed with; of several the later ones are tried against the
  // earlier.
  std::vector<Pattern> patterns;
  // Value or gradient.
  void *x, *w, *y;
};

}  // namespace onehour::cuda
