// The problem of a two-dimensional convolution and its gradients, from the operands of an
// instruction. Activations NHWC, filters KRSC.
#pragma once

#include <cstdint>
#include <string>

#include "check.h"

namespace onehour {

struct Convolution {
  int64_t n, h, w, c;  // input
  int64_t k, r, s;     // filter
  int64_t p, q;        // output
  Pair stride, padding, dilation;
  int64_t groups;  // of channels and filters, each convolved by itself
  DataType type;   // of the activations

  int64_t pixels() const { return n * p * q; }
  int64_t filterChannels() const { return c / groups; }
  int64_t filterCount() const { return k * r * s * filterChannels(); }
  bool isPlain() const { return groups == 1 && dilation.height == 1 && dilation.width == 1; }
};

// Checks the sizes that follow from the attributes; `x` and `y` are the input's and the output's
// value or gradient.
inline Convolution convolutionOf(const Instruction& instruction, const Operand& x, const Operand& w,
                                 const Operand& y) {
  Convolution problem{.n = x.shape[0],
                      .h = x.shape[1],
                      .w = x.shape[2],
                      .c = x.shape[3],
                      .k = w.shape[0],
                      .r = w.shape[1],
                      .s = w.shape[2],
                      .p = 0,
                      .q = 0,
                      .stride = pairOf(instruction, "stride", 1),
                      .padding = pairOf(instruction, "padding", 0),
                      .dilation = pairOrOnes(instruction, "dilation"),
                      .groups = instruction.integer("groups", 1),
                      .type = x.type};
  if (problem.groups < 1 || problem.c % problem.groups != 0 || problem.k % problem.groups != 0) {
    throw Error("ERR_SHAPE", "onehour",
                "[" + instruction.op + "] expected groups that divide " +
                    std::to_string(problem.c) + " channels and " + std::to_string(problem.k) +
                    " filters, got " + std::to_string(problem.groups));
  }
  if (w.shape[3] != problem.filterChannels()) {
    shapeError(instruction,
               describe(w.name, nameOf(w.type), {-1, -1, -1, problem.filterChannels()}), w);
  }
  const auto along = [&](int64_t extent, int64_t window, int64_t stride, int64_t padding,
                         int64_t dilation) {
    if (window > (1 << 20)) {
      shapeError(instruction,
                 "a filter of at most " + std::to_string(1 << 20) + " rows and columns", w);
    }
    return windowOutput(instruction, extent, (window - 1) * dilation + 1, stride, padding);
  };
  problem.p = along(problem.h, problem.r, problem.stride.height, problem.padding.height,
                    problem.dilation.height);
  problem.q = along(problem.w, problem.s, problem.stride.width, problem.padding.width,
                    problem.dilation.width);
  expectShape(instruction, y, {problem.n, problem.p, problem.q, problem.k});
  return problem;
}

}  // namespace onehour
