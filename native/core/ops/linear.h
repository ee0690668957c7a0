// The operands of the fully connected layer, checked: what every backend reads from the
// instruction.
#pragma once

#include <cstdint>

#include "check.h"

namespace onehour {

// y[N,K] = x[N,C]·wᵀ + b with w[K,C]; x, w and the gradient of y share a type.
struct Linear {
  int64_t n, c, k;
  DataType type;
};

// From x or its gradient and y or its gradient.
inline Linear linearOf(const Instruction& instruction, const Operand& x, const Operand& y) {
  expectTensor(instruction, x, 2);
  expectTensor(instruction, y, 2);
  expect(instruction, y, y.type, {x.shape[0], -1});
  return {x.shape[0], x.shape[1], y.shape[1], x.type};
}

}  // namespace onehour
