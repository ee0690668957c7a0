// Operands and attributes of the elementwise ops, checked: the contract that every backend's
// kernels start from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "../error.h"
#include "../program.h"
#include "../words.h"
#include "check.h"

namespace onehour {

struct Add {
  const Operand& a;
  const Operand& b;
  const Operand& y;
  bool relu;

  explicit Add(const Instruction& instruction)
      : a(instruction.input("a")),
        b(expect(instruction, instruction.input("b"), computeType(instruction, a), a.shape)),
        y(expect(instruction, instruction.output("y"), a.type, a.shape)),
        relu(flag(instruction, "relu")) {}
};

struct Relu {
  const Operand& x;
  const Operand& y;

  explicit Relu(const Instruction& instruction)
      : x(instruction.input("x")),
        y(expect(instruction, instruction.output("y"), computeType(instruction, x), x.shape)) {}
};

struct ReluBackward {
  const Operand& dy;
  const Operand& y;
  const Operand& dx;

  explicit ReluBackward(const Instruction& instruction)
      : dy(instruction.input("dy")),
        y(expect(instruction, instruction.input("y"), computeType(instruction, dy), dy.shape)),
        dx(expect(instruction, instruction.output("dx"), dy.type, dy.shape)) {}
};

// Between equal types of any kind, or from one compute type to the other.
struct Copy {
  const Operand& x;
  const Operand& y;

  explicit Copy(const Instruction& instruction)
      : x(instruction.input("x")),
        y(expect(instruction, instruction.output("y"), instruction.output("y").type, x.shape)) {
    if (x.type == y.type) return;
    computeType(instruction, x);
    computeType(instruction, y);
  }
};

struct Scale {
  const Operand& x;
  const Operand& y;
  float factor;

  explicit Scale(const Instruction& instruction)
      : x(instruction.input("x")),
        y(expect(instruction, instruction.output("y"), DataType::f32, x.shape)),
        factor(static_cast<float>(instruction.number("factor"))) {
    expect(instruction, x, DataType::f32, x.shape);
  }
};

// (pixel / 255 − mean) / std a channel; the channels of y beyond those of x are 0.
struct NormalizeInput {
  const Operand& x;
  const Operand& y;
  const Operand* flip;  // images to mirror; nullptr: none
  int64_t channels;     // of x
  std::vector<double> mean, std;

  explicit NormalizeInput(const Instruction& instruction)
      : x(expect(instruction, instruction.input("x"), DataType::u8, {-1, -1, -1, -1})),
        y(expectTensor(instruction, instruction.output("y"), 4)),
        flip(
            expectOptional(instruction, instruction.findInput("flip"), DataType::u8, {x.shape[0]})),
        channels(x.shape[3]),
        mean(instruction.numbers("mean")),
        std(instruction.numbers("std")) {
    expect(instruction, y, y.type,
           {x.shape[0], x.shape[1], x.shape[2], std::max(channels, y.shape[3])});
    if (static_cast<int64_t>(mean.size()) != channels ||
        static_cast<int64_t>(std.size()) != channels) {
      throw Error("ERR_SHAPE", "onehour",
                  "[normalize-input] expected " + counted(channels, "value") +
                      " of mean and std, one a channel, got " + std::to_string(mean.size()) +
                      " and " + std::to_string(std.size()));
    }
  }

  int64_t width() const { return x.shape[2]; }
  int64_t padded() const { return y.shape[3]; }             // channels of y
  int64_t rows() const { return x.shape[0] * x.shape[1]; }  // of all images
};

}  // namespace onehour
