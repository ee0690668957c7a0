#include "collective.h"

#include <string>

#include "check.h"

namespace onehour {
namespace {

Communicator& communicatorOf(const Instruction& instruction, const PrepareContext& context) {
  return context.communicator(instruction.word("communicator"));
}

[[noreturn]] void refuseCall(const Instruction& instruction, const std::string& expected) {
  throw Error("ERR_SHAPE", "onehour", "[" + instruction.op + "] expected " + expected);
}

// The operand x, which is both input and output.
const Operand& expectInPlace(const Instruction& instruction) {
  const Operand& x = instruction.input("x");
  if (x.data != instruction.output("x").data)
    refuseCall(instruction, "the same x as input and output");
  return x;
}

}  // namespace

AllReduce allReduceOf(const Instruction& instruction, const PrepareContext& context) {
  Communicator& communicator = communicatorOf(instruction, context);
  const Operand& x = expectInPlace(instruction);
  return {communicator, x.data, static_cast<size_t>(x.count()), x.type};
}

AllGather allGatherOf(const Instruction& instruction, const PrepareContext& context) {
  Communicator& communicator = communicatorOf(instruction, context);
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  if (y.count() != x.count() * communicator.size()) {
    refuseCall(instruction, "y of " + std::to_string(communicator.size()) +
                                " times x's elements (one part a rank), got " +
                                std::to_string(y.count()) + " for " + std::to_string(x.count()));
  }
  return {communicator, x.data, y.data, x.bytes()};
}

Broadcast broadcastOf(const Instruction& instruction, const PrepareContext& context) {
  Communicator& communicator = communicatorOf(instruction, context);
  const Operand& x = expectInPlace(instruction);
  const int64_t root = instruction.integer("root", 0);
  if (root < 0 || root >= communicator.size()) {
    refuseCall(instruction, "root from 0 to " + std::to_string(communicator.size() - 1) + ", got " +
                                std::to_string(root));
  }
  return {communicator, x.data, x.bytes(), static_cast<int>(root)};
}

}  // namespace onehour
