// The problem of a two-dimensional convolution and its gradients, from the operands of an
// instruction. Activations NHWC, filters KRSC.
#pragma once

#include <cstdint>

#include "check.h"

namespace onehour {

struct Convolution {
  int64_t n, h, w, c;  // input
  int64_t k, r, s;     // filter
  int64_t p, q;        // output
  Pair stride, padding;
  DataType type;  // of the activations

  int64_t pixels() const { return n * p * q; }
  int64_t filterCount() const { return k * r * s * c; }
};

// Checks the three tensors against each other; `x` and `y` are the input's and the output's value
// or gradient.
inline Convolution convolutionOf(const Instruction& instruction, const Operand& x, const Operand& w,
                                 const Operand& y, DataType filterType) {
  expectTensor(instruction, x, 4);
  const int64_t channels = x.shape[3];
  expect(instruction, w, filterType, {-1, -1, -1, channels});
  for (int64_t extent : w.shape) {
    if (extent < 1) shapeError(instruction, "a filter with extents of at least 1", w);
  }
  const Pair stride = pairOf(instruction, "stride", 1);
  const Pair padding = pairOf(instruction, "padding", 0);
  Convolution problem{x.shape[0], x.shape[1], x.shape[2], channels, w.shape[0], w.shape[1],
                      w.shape[2], 0,          0,          stride,   padding,    x.type};
  problem.p = windowOutput(instruction, problem.h, problem.r, stride.height, padding.height);
  problem.q = windowOutput(instruction, problem.w, problem.s, stride.width, padding.width);
  expect(instruction, y, x.type, {problem.n, problem.p, problem.q, problem.k});
  return problem;
}

}  // namespace onehour
