// Checks that the signatures of elementwise ops cannot express, for every backend.
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

// Between equal types of any kind, or from one compute type to the other.
struct Copy {
  const Operand& x;
  const Operand& y;

  explicit Copy(const Instruction& instruction)
      : x(instruction.input("x")), y(instruction.output("y")) {
    if (x.type == y.type) return;
    computeType(instruction, x);
    computeType(instruction, y);
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
      : x(instruction.input("x")),
        y(instruction.output("y")),
        flip(instruction.findInput("flip")),
        channels(x.shape[3]),
        mean(instruction.numbers("mean")),
        std(instruction.numbers("std")) {
    expectShape(instruction, y,
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
