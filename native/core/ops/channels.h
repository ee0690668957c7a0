// Checks that the signatures of ops on channels and of flattening cannot express, for every
// backend.
#pragma once

#include <cstdint>
#include <string>

#include "check.h"

namespace onehour {

// Images as a matrix: a row a pixel, a column a channel.
inline int64_t pixelsOf(const Operand& images) {
  return images.shape[0] * images.shape[1] * images.shape[2];
}

// y has the channels of a, then those of b.
inline void expectConcatenation(const Instruction& instruction) {
  const Operand& a = instruction.input("a");
  Shape shape = a.shape;
  shape[3] += instruction.input("b").shape[3];
  expectShape(instruction, instruction.output("y"), shape);
}

// The first of the channels of x that y has.
inline int64_t sliceOffset(const Instruction& instruction) {
  const int64_t channels = instruction.input("x").shape[3];
  const int64_t taken = instruction.output("y").shape[3];
  const int64_t offset = instruction.integer("offset");
  if (offset < 0 || taken > channels || offset > channels - taken) {
    throw Error("ERR_SHAPE", "onehour",
                "[" + instruction.op + "] expected " + std::to_string(taken) +
                    " channels from offset on among " + std::to_string(channels) +
                    ", got offset=" + std::to_string(offset));
  }
  return offset;
}

// `rows` [N,D] has the elements of `images` [N,H,W,C] in their order.
inline void expectFlat(const Instruction& instruction, const Operand& images, const Operand& rows) {
  expectShape(instruction, rows,
              {images.shape[0], images.shape[1] * images.shape[2] * images.shape[3]});
}

}  // namespace onehour
