// Operands and attributes of the batch norm ops, checked: the contract that every backend's kernels
// start from.
#pragma once

#include <cstdint>

#include "../program.h"
#include "check.h"

namespace onehour {

// An f32 vector of one value a channel of x.
inline float* channelVector(const Instruction& instruction, const Operand& x,
                            const Operand& operand) {
  return expect(instruction, operand, DataType::f32, {x.shape.back()}).as<float>();
}

inline const float* optionalVector(const Instruction& instruction, const Operand& x,
                                   const char* name) {
  const Operand* operand = instruction.findInput(name);
  return operand == nullptr ? nullptr : channelVector(instruction, x, *operand);
}

struct BatchNormStatistics {
  const Operand& x;
  float* statistics;  // mean [C], M2 [C], count

  explicit BatchNormStatistics(const Instruction& instruction)
      : x(expectTensor(instruction, instruction.input("x"), 4)),
        statistics(expect(instruction, instruction.output("statistics"), DataType::f32,
                          {1, 2 * x.shape.back() + 1})
                       .as<float>()) {}
};

struct BatchNormFinalize {
  int64_t ranks, channels;
  const float* statistics;  // [ranks, 2C + 1]
  float* mean;
  float* inverseStd;
  const float* oldMean;
  const float* oldVariance;
  float* newMean;
  float* newVariance;
  double epsilon, decay, gain;

  explicit BatchNormFinalize(const Instruction& instruction) {
    const Operand& all =
        expect(instruction, instruction.input("statistics"), DataType::f32, {-1, -1});
    const Operand& first = expect(instruction, instruction.output("mean"), DataType::f32, {-1});
    channels = first.count();
    ranks = all.shape[0];
    expect(instruction, all, DataType::f32, {ranks, 2 * channels + 1});
    statistics = all.as<float>();
    mean = first.as<float>();
    inverseStd = channelVector(instruction, first, instruction.output("inverse-std"));
    oldMean = channelVector(instruction, first, instruction.input("running-mean"));
    oldVariance = channelVector(instruction, first, instruction.input("running-variance"));
    newMean = channelVector(instruction, first, instruction.output("running-mean"));
    newVariance = channelVector(instruction, first, instruction.output("running-variance"));
    epsilon = instruction.number("epsilon");
    decay = instruction.number("decay");
    gain = instruction.number("gain");
  }
};

// batch-norm-apply, and batch-norm-inference, where 1/σ comes from the running variance.
struct BatchNormApply {
  const Operand& x;
  const Operand* residual;
  const Operand& y;
  bool relu;
  const float* mean;
  const float* inverseStd = nullptr;
  const float* variance = nullptr;  // inference
  double epsilon = 0;               // inference
  const float* gamma;
  const float* beta;

  BatchNormApply(const Instruction& instruction, bool inference)
      : x(expectTensor(instruction, instruction.input("x"), 4)),
        residual(expectOptional(instruction, instruction.findInput("residual"), x.type, x.shape)),
        y(expect(instruction, instruction.output("y"), x.type, x.shape)),
        relu(flag(instruction, "relu")) {
    const auto vector = [&](const char* name) {
      return channelVector(instruction, x, instruction.input(name));
    };
    mean = vector(inference ? "running-mean" : "mean");
    (inference ? variance : inverseStd) = vector(inference ? "running-variance" : "inverse-std");
    gamma = vector("gamma");
    beta = vector("beta");
    if (inference) epsilon = instruction.number("epsilon");
  }
};

// Where backward's ReLU mask comes from.
enum class Mask { none, output, recomputed };

struct BatchNormReduce {
  const Operand& x;
  const Operand& dy;
  const Operand* dy2;
  const Operand* y;  // with Mask::output
  const Operand* dz;
  Mask mask;
  const float* mean;
  const float* inverseStd;
  const float* gamma;  // not null with Mask::recomputed, nor beta
  const float* beta;
  float* sums;  // Σdz [C], Σdz·x̂ [C]
  float* dgamma;
  float* dbeta;
  bool accumulate;

  explicit BatchNormReduce(const Instruction& instruction)
      : x(expectTensor(instruction, instruction.input("x"), 4)),
        dy(expect(instruction, instruction.input("dy"), x.type, x.shape)) {
    const auto tensor = [&](const Operand* operand) {
      return expectOptional(instruction, operand, x.type, x.shape);
    };
    const bool relu = flag(instruction, "relu");
    dy2 = tensor(instruction.findInput("dy2"));
    dz = tensor(instruction.findOutput("dz"));
    y = relu ? tensor(instruction.findInput("y")) : nullptr;
    mask = !relu ? Mask::none : y != nullptr ? Mask::output : Mask::recomputed;
    mean = channelVector(instruction, x, instruction.input("mean"));
    inverseStd = channelVector(instruction, x, instruction.input("inverse-std"));
    gamma = optionalVector(instruction, x, "gamma");
    beta = optionalVector(instruction, x, "beta");
    if (mask == Mask::recomputed) {
      channelVector(instruction, x, instruction.input("gamma"));
      channelVector(instruction, x, instruction.input("beta"));
    }
    sums = expect(instruction, instruction.output("sums"), DataType::f32, {2 * x.shape.back()})
               .as<float>();
    dgamma = channelVector(instruction, x, instruction.output("dgamma"));
    dbeta = channelVector(instruction, x, instruction.output("dbeta"));
    accumulate = flag(instruction, "accumulate");
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
      : x(expectTensor(instruction, instruction.input("x"), 4)),
        dz(expect(instruction, instruction.input("dz"), x.type, x.shape)),
        dx(expect(instruction, instruction.output("dx"), x.type, x.shape)),
        relu(flag(instruction, "relu")),
        mean(channelVector(instruction, x, instruction.input("mean"))),
        inverseStd(channelVector(instruction, x, instruction.input("inverse-std"))),
        gamma(channelVector(instruction, x, instruction.input("gamma"))),
        beta(relu ? channelVector(instruction, x, instruction.input("beta"))
                  : optionalVector(instruction, x, "beta")),
        sums(expect(instruction, instruction.input("sums"), DataType::f32, {2 * x.shape.back()})
                 .as<float>()),
        count(instruction.number("count")) {}
};

}  // namespace onehour
