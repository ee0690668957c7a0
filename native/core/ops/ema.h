// The checked operands of the weight of a step in a moving average, for every backend.
#pragma once

#include "check.h"

namespace onehour {

struct EmaWeight {
  const Operand& rate;
  const Operand& updates;  // changed in place
  const Operand* factor;   // nullptr: no step is skipped
  const Operand& weight;
};

inline EmaWeight emaWeightOf(const Instruction& instruction) {
  const Operand& updates = instruction.input("updates");
  if (instruction.output("updates").data != updates.data) {
    throw Error("ERR_SHAPE", "onehour",
                "[ema-weight] expected updates to be changed in place, got an output at another "
                "address");
  }
  return {.rate = instruction.input("rate"),
          .updates = updates,
          .factor = instruction.findInput("factor"),
          .weight = instruction.output("weight")};
}

}  // namespace onehour
