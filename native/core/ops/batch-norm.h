// Operands and attributes of the batch norm ops, as every backend's kernels start from them.
#pragma once

#include <cstdint>
#include <string>

#include "../program.h"
#include "check.h"

namespace onehour {

inline const float* vectorOf(const Operand* operand) {
  return operand == nullptr ? nullptr : operand->as<float>();
}

// A ReLU's mask, or nullptr: a byte for each 16 bytes of y, whose bit j is set where element j is
// above zero.
inline uint8_t* maskOf(const Instruction& instruction, const Operand* mask, const Operand& x) {
  if (mask == nullptr) return nullptr;
  const int64_t lanes = 16 / static_cast<int64_t>(bytesOf(x.type));
  Shape shape = x.shape;
  if (shape.back() % lanes != 0) {
    shapeError(instruction, "channels in multiples of " + std::to_string(lanes) + " with a mask",
               x);
  }
  shape.back() /= lanes;
  expectShape(instruction, *mask, shape);
  return mask->as<uint8_t>();
}

struct BatchNormStatistics {
  const Operand& x;
  float* statistics;  // mean [C], M2 [C], count

  explicit BatchNormStatistics(const Instruction& instruction)
      : x(instruction.input("x")), statistics(instruction.output("statistics").as<float>()) {}
};

// batch-norm-finalize, or the last part of what computes the statistics itself.
struct BatchNormFinalize {
  int64_t ranks = 0, channels = 0;
  const float* statistics = nullptr;  // [ranks, 2C + 1]
  float* mean = nullptr;
  float* inverseStd = nullptr;
  const float* oldMean = nullptr;
  const float* oldVariance = nullptr;
  float* newMean = nullptr;
  float* newVariance = nullptr;
  double epsilon = 0, decay = 0, gain = 0;

  BatchNormFinalize() = default;
  explicit BatchNormFinalize(const Instruction& instruction) {
    const Operand* gathered = instruction.findInput("statistics");
    const Operand& all = gathered != nullptr ? *gathered : instruction.output("statistics");
    ranks = all.shape[0];
    channels = instruction.output("mean").count();
    statistics = all.as<float>();
    mean = instruction.output("mean").as<float>();
    inverseStd = instruction.output("inverse-std").as<float>();
    oldMean = instruction.input("running-mean").as<float>();
    oldVariance = instruction.input("running-variance").as<float>();
    newMean = instruction.output("running-mean").as<float>();
    newVariance = instruction.output("running-variance").as<float>();
    epsilon = instruction.number("epsilon");
    decay = instruction.number("decay");
    gain = instruction.number("gain");
  }
};

// What is to become of the statistics that an instruction computes, if it has the outputs for it;
// else all is null.
inline BatchNormFinalize finalizeOf(const Instruction& instruction) {
  return instruction.findOutput("mean") == nullptr ? BatchNormFinalize()
                                                   : BatchNormFinalize(instruction);
}

// batch-norm-apply, and batch-norm-inference, where 1/σ comes from the running variance.
struct BatchNormApply {
  const Operand& x;
  const Operand* residual;
  const Operand& y;
  uint8_t* mask;  // nullptr: not wanted
  bool relu;
  const float* mean;
  const float* inverseStd = nullptr;
  const float* variance = nullptr;  // inference
  double epsilon = 0;               // inference
  const float* gamma;
  const float* beta;

  BatchNormApply(const Instruction& instruction, bool inference)
      : x(instruction.input("x")),
        residual(instruction.findInput("residual")),
        y(instruction.output("y")),
        mask(maskOf(instruction, instruction.findOutput("mask"), x)),
        relu(flag(instruction, "relu")) {
    const auto vector = [&](const char* name) { return instruction.input(name).as<float>(); };
    mean = vector(inference ? "running-mean" : "mean");
    (inference ? variance : inverseStd) = vector(inference ? "running-variance" : "inverse-std");
    gamma = vector("gamma");
    beta = vector("beta");
    if (inference) epsilon = instruction.number("epsilon");
  }
};

// Where backward's ReLU mask comes from: y, the bits that forward wrote, or x.
enum class Mask { none, output, bits, recomputed };

// What the sums of a reduction become.
struct BatchNormSums {
  float* sums;  // Σdz [C], Σdz·x̂ [C]
  float* dgamma;
  float* dbeta;
  bool accumulate;

  // The operands' names end in `suffix`.
  explicit BatchNormSums(const Instruction& instruction, const std::string& suffix = "")
      : sums(instruction.output("sums" + suffix).as<float>()),
        dgamma(instruction.output("dgamma" + suffix).as<float>()),
        dbeta(instruction.output("dbeta" + suffix).as<float>()),
        accumulate(flag(instruction, "accumulate")) {}
};

struct BatchNormReduce {
  const Operand& x;
  const Operand& dy;
  const Operand* dy2;
  const Operand* y;     // with Mask::output
  const uint8_t* bits;  // with Mask::bits
  const Operand* dz;
  Mask mask;
  const float* mean;
  const float* inverseStd;
  const float* gamma;  // not null with Mask::recomputed, nor beta
  const float* beta;
  BatchNormSums sums;

  explicit BatchNormReduce(const Instruction& instruction)
      : x(instruction.input("x")), dy(instruction.input("dy")), sums(instruction) {
    const bool relu = flag(instruction, "relu");
    dy2 = instruction.findInput("dy2");
    dz = instruction.findOutput("dz");
    bits = relu ? maskOf(instruction, instruction.findInput("mask"), x) : nullptr;
    y = relu && bits == nullptr ? instruction.findInput("y") : nullptr;
    mask = !relu             ? Mask::none
           : bits != nullptr ? Mask::bits
           : y != nullptr    ? Mask::output
                             : Mask::recomputed;
    mean = instruction.input("mean").as<float>();
    inverseStd = instruction.input("inverse-std").as<float>();
    const auto vector = [&](const char* name) {
      return vectorOf(mask == Mask::recomputed ? &instruction.input(name)
                                               : instruction.findInput(name));
    };
    gamma = vector("gamma");
    beta = vector("beta");
  }
};

struct BatchNormBackward {
  const Operand& x;
  const Operand& dz;
  const Operand& dx;
  bool relu;
  const float* mean;
  const float* inverseStd;
  const float* gamma;
  const float* beta;  // not null with relu
  const float* sums;  // of the whole group of ranks
  double count;       // M of the whole group of ranks

  explicit BatchNormBackward(const Instruction& instruction)
      : x(instruction.input("x")),
        dz(instruction.input("dz")),
        dx(instruction.output("dx")),
        relu(flag(instruction, "relu")),
        mean(instruction.input("mean").as<float>()),
        inverseStd(instruction.input("inverse-std").as<float>()),
        gamma(instruction.input("gamma").as<float>()),
        beta(vectorOf(relu ? &instruction.input("beta") : instruction.findInput("beta"))),
        sums(instruction.input("sums").as<float>()),
        count(instruction.number("count")) {}
};

}  // namespace onehour
