// The problem of the fully connected layer and its gradients.
#pragma once

#include <cstdint>

#include "../program.h"

namespace onehour {

// y[N,K] = x[N,C]·wᵀ + b with w[K,C]; x, w and the gradient of y share a type.
struct Linear {
  int64_t n, c, k;
  DataType type;
};

// From x or its gradient and y or its gradient.
inline Linear linearOf(const Operand& x, const Operand& y) {
  return {x.shape[0], x.shape[1], y.shape[1], x.type};
}

}  // namespace onehour
