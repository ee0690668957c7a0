// The attributes and operands of the ops of convolution.
#include "conv-problem.h"

#include <string>

#include "../tiling/tiling.h"

namespace onehour::cuda {
namespace {

// Since this version a graph's sums can be asked for with bits that repeat.
constexpr bool hasRepeatableSums = CUDNN_VERSION >= 91100;

Pattern patternOf(const std::string& op) {
  if (op == "conv2d-backward-data") return Pattern::backwardData;
  if (op.starts_with("conv2d-backward-weight")) return Pattern::backwardWeight;
  return Pattern::forward;
}

const Operand& xOf(const Instruction& instruction) {
  return patternOf(instruction.op) == Pattern::backwardData ? instruction.output("dx")
                                                            : instruction.input("x");
}

const Operand& wOf(const Instruction& instruction) {
  return patternOf(instruction.op) == Pattern::backwardWeight ? instruction.output("dw")
                                                              : instruction.input("w");
}

const Operand& yOf(const Instruction& instruction) {
  return patternOf(instruction.op) == Pattern::forward ? instruction.output("y")
                                                       : instruction.input("dy");
}

Convolution convolutionOf(const Instruction& instruction) {
  return onehour::convolutionOf(instruction, xOf(instruction), wOf(instruction), yOf(instruction));
}

Arithmetic arithmeticOf(const Instruction& instruction, DataType type) {
  if (type == DataType::bf16) return Arithmetic::bf16;
  if (type == DataType::f16) return Arithmetic::fp16;
  return allowsTf32(instruction) ? Arithmetic::tf32 : Arithmetic::fp32;
}

// Graphs promise cuDNN addresses that are multiples of 16.
void* addressOf(const Instruction& instruction, const Operand& operand) {
  if (reinterpret_cast<uintptr_t>(operand.data) % accessBytes != 0) {
    shapeError(instruction, operand.name + " at an offset that is a multiple of 16 bytes", operand);
  }
  return operand.data;
}

}  // namespace

ConvProblem::ConvProblem(const Instruction& instruction)
    : convolution(cuda::convolutionOf(instruction)),
      arithmetic(arithmeticOf(instruction, convolution.type)),
      patterns{patternOf(instruction.op)},
      x(addressOf(instruction, xOf(instruction))),
      w(addressOf(instruction, wOf(instruction))),
      y(addressOf(instruction, yOf(instruction))) {
  if (instruction.findOutput("statistics") != nullptr && arithmetic != Arithmetic::fp32 &&
      hasRepeatableSums && convolution.isPlain()) {
    patterns.push_back(Pattern::forwardStatistics);
  }
}

}  // namespace onehour::cuda
