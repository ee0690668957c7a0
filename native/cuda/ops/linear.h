// The device code that the fully connected layer adds to the products of cuBLASLt.
#pragma once

#include "../../core/backend.h"
#include "../../core/program.h"

namespace onehour::cuda {

// A kernel that writes the sums of dy[N,K] over N to db, f32[K], or adds them to it
// (linear-bias.cu).
std::unique_ptr<Kernel> prepareBiasGradient(const Operand& dy, const Operand& db, bool accumulate,
                                            const PrepareContext& context);

}  // namespace onehour::cuda
