// Operands and attributes of the ops on two batch norms that are added. Names of the second one's
// operands end in 2.
#pragma once

#include <cstdint>
#include <string>

#include "../program.h"
#include "batch-norm.h"
#include "check.h"

namespace onehour {

// One of the two.
struct BatchNormOfPair {
  const Operand& x;
  const float* mean;
  const float* inverseStd;
  const float* gamma;  // nullptr where the op has none, as beta
  const float* beta;

  BatchNormOfPair(const Instruction& instruction, const std::string& suffix)
      : x(instruction.input("x" + suffix)),
        mean(instruction.input("mean" + suffix).as<float>()),
        inverseStd(instruction.input("inverse-std" + suffix).as<float>()),
        gamma(vectorOf(instruction.findInput("gamma" + suffix))),
        beta(vectorOf(instruction.findInput("beta" + suffix))) {}
};

struct BatchNormPair {
  BatchNormOfPair first, second;

  explicit BatchNormPair(const Instruction& instruction)
      : first(instruction, ""), second(instruction, "2") {}
};

struct BatchNormApplyPair : BatchNormPair {
  const Operand& y;
  uint8_t* mask;  // nullptr: not wanted
  bool relu;

  explicit BatchNormApplyPair(const Instruction& instruction)
      : BatchNormPair(instruction),
        y(instruction.output("y")),
        mask(maskOf(instruction, instruction.findOutput("mask"), y)),
        relu(flag(instruction, "relu")) {}
};

struct BatchNormReducePair : BatchNormPair {
  const Operand& dy;
  const Operand* dy2;  // a second gradient of y, or nullptr
  const uint8_t* mask;
  const Operand& dz;
  BatchNormSums sums, sums2;

  explicit BatchNormReducePair(const Instruction& instruction)
      : BatchNormPair(instruction),
        dy(instruction.input("dy")),
        dy2(instruction.findInput("dy2")),
        mask(maskOf(instruction, &instruction.input("mask"), dy)),
        dz(instruction.output("dz")),
        sums(instruction),
        sums2(instruction, "2") {}
};

struct BatchNormBackwardPair : BatchNormPair {
  const Operand& dz;
  const Operand& dx;
  const Operand& dx2;
  const float* sums;  // of the whole group of ranks, as sums2
  const float* sums2;
  double count;  // M of the whole group of ranks

  explicit BatchNormBackwardPair(const Instruction& instruction)
      : BatchNormPair(instruction),
        dz(instruction.input("dz")),
        dx(instruction.output("dx")),
        dx2(instruction.output("dx2")),
        sums(instruction.input("sums").as<float>()),
        sums2(instruction.input("sums2").as<float>()),
        count(instruction.number("count")) {}
};

}  // namespace onehour
