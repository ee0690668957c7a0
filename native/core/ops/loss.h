// The operands of softmax cross-entropy, checked: what every backend reads from the instruction.
#pragma once

#include <cstdint>

#include "check.h"

namespace onehour {

struct CrossEntropy {
  int64_t images, classes;
  double smoothing, scale;
};

// `logits` or the probabilities made from them, f32[N,K], beside labels, i32[N].
inline CrossEntropy crossEntropyOf(const Instruction& instruction, const Operand& logits) {
  expect(instruction, logits, DataType::f32, {-1, -1});
  expectTensor(instruction, logits, 2);
  const CrossEntropy problem{logits.shape[0], logits.shape[1], instruction.number("smoothing", 0),
                             instruction.number("scale", 1)};
  expect(instruction, instruction.input("labels"), DataType::i32, {problem.images});
  return problem;
}

}  // namespace onehour
