// The checked operands of pooling, as every backend reads them from the instruction.
#pragma once

#include <string>

#include "check.h"

namespace onehour {

// A window that moves over the padded x[N,H,W,C] and yields y[N,P,Q,C].
struct WindowPooling {
  Shape x, y;
  DataType type;
  Pair window, stride, padding;
};

inline WindowPooling windowPoolingOf(const Instruction& instruction, const Operand& x,
                                     const Operand& y) {
  const Pair window = pairOf(instruction, "window", 1);
  const Pair stride = pairOf(instruction, "stride", 1);
  const Pair padding = pairOf(instruction, "padding", 0);
  if (padding.height >= window.height || padding.width >= window.width) {
    throw Error("ERR_SHAPE", "onehour",
                "[" + instruction.op + "] expected a padding smaller than the window, got " +
                    std::string(instruction.word("padding")));
  }
  expectShape(instruction, y,
              {x.shape[0],
               windowOutput(instruction, x.shape[1], window.height, stride.height, padding.height),
               windowOutput(instruction, x.shape[2], window.width, stride.width, padding.width),
               x.shape[3]});
  return {x.shape, y.shape, x.type, window, stride, padding};
}

// A maximum's place in its window is kept as one byte.
inline void checkIndex(const Instruction& instruction, const WindowPooling& pooling) {
  if (pooling.window.height * pooling.window.width <= 255) return;
  throw Error("ERR_KERNEL", "onehour",
              "[" + instruction.op + "] expected a record of one byte a maximum, a window of " +
                  std::to_string(pooling.window.height) + "×" +
                  std::to_string(pooling.window.width) +
                  " has too many places; try a window of fewer than 256 values");
}

}  // namespace onehour
