// Signatures of ops, in the notation of lib/graph/signature.ts: the one place that checks an
// instruction's operands.
#pragma once

#include <string_view>

#include "program.h"

namespace onehour {

// `x:T[N,H,W,C] w:T[K,R,S,C] -> y:T[N,P,Q,K]`. A letter has one meaning in a signature: T is a type
// that kernels compute in, U and V are any types, the others are sizes of at least 1, alone or as
// in `2C+1`. `[...]` is any one shape; `?` marks an operand that may be absent.
//
// Throws ERR_SHAPE naming the first operand that does not fit, or ERR_PROGRAM for one that is
// missing or that the signature does not have.
void expectOperands(const Instruction& instruction, std::string_view signature);

}  // namespace onehour
