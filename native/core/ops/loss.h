// The problem of softmax cross-entropy, from an instruction.
#pragma once

#include <cstdint>

#include "../program.h"

namespace onehour {

struct CrossEntropy {
  int64_t images, classes;
  double smoothing, scale;
};

// `logits`, or the probabilities made from them, f32[N,K], with labels, i32[N].
inline CrossEntropy crossEntropyOf(const Instruction& instruction, const Operand& logits) {
  return {logits.shape[0], logits.shape[1], instruction.number("smoothing", 0),
          instruction.number("scale", 1)};
}

}  // namespace onehour
