// Checks that an op's signature cannot express, of attributes and of sizes that depend on them.
// Every failure is an ERR_SHAPE that says what was expected.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../error.h"
#include "../program.h"

namespace onehour {

using Shape = std::vector<int64_t>;

inline std::string describe(std::string_view name, std::string_view type, const Shape& shape) {
  std::string text(name);
  if (!type.empty()) text.append(":").append(type);
  text += '[';
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ',';
    text += shape[i] < 0 ? "?" : std::to_string(shape[i]);
  }
  return text + ']';
}

[[noreturn]] inline void shapeError(const Instruction& instruction, const std::string& expected,
                                    const Operand& got) {
  throw Error("ERR_SHAPE", "onehour",
              "[" + instruction.op + "] expected " + expected + ", got " +
                  describe(got.name, nameOf(got.type), got.shape));
}

inline void expectShape(const Instruction& instruction, const Operand& operand,
                        const Shape& shape) {
  if (operand.shape == shape) return;
  shapeError(instruction, describe(operand.name, nameOf(operand.type), shape), operand);
}

// The operand's type when it is one of the compute types.
inline DataType computeType(const Instruction& instruction, const Operand& operand) {
  if (operand.type != DataType::f32 && operand.type != DataType::bf16 &&
      operand.type != DataType::f16) {
    shapeError(instruction, operand.name + " as f32, bf16 or f16", operand);
  }
  return operand.type;
}

inline bool flag(const Instruction& instruction, std::string_view key) {
  return instruction.integer(key, 0) != 0;
}

// Whether products of fp32 may be rounded to tf32 first: `precision=tf32`.
inline bool allowsTf32(const Instruction& instruction) {
  const std::string* precision = instruction.findAttribute("precision");
  if (precision == nullptr) return false;
  if (*precision == "tf32") return true;
  throw Error(
      "ERR_SHAPE", "onehour",
      "[" + instruction.op + "] expected precision=tf32 or no precision, got " + *precision);
}

// stride, padding or window: two values, height first.
struct Pair {
  int64_t height;
  int64_t width;
};

inline Pair pairOf(const Instruction& instruction, std::string_view key, int64_t minimum) {
  const std::vector<int64_t> values = instruction.integers(key);
  if (values.size() != 2 || values[0] < minimum || values[1] < minimum || values[0] > (1 << 20) ||
      values[1] > (1 << 20)) {
    throw Error("ERR_SHAPE", "onehour",
                "[" + instruction.op + "] expected " + std::string(key) +
                    " as two integers of at least " + std::to_string(minimum) +
                    ", height first, got " + std::string(instruction.word(key)));
  }
  return {values[0], values[1]};
}

// The same; 1 along both axes where the instruction has no such attribute.
inline Pair pairOrOnes(const Instruction& instruction, std::string_view key) {
  if (instruction.findAttribute(key) != nullptr) return pairOf(instruction, key, 1);
  return {1, 1};
}

// Rows or columns of the output of a window that moves over a padded extent; throws when the
// window does not fit.
inline int64_t windowOutput(const Instruction& instruction, int64_t extent, int64_t window,
                            int64_t stride, int64_t padding) {
  if (extent + 2 * padding < window) {
    throw Error("ERR_SHAPE", "onehour",
                "[" + instruction.op + "] expected a window no larger than the padded input, got " +
                    std::to_string(window) + " over " + std::to_string(extent) + " + 2·" +
                    std::to_string(padding));
  }
  return (extent + 2 * padding - window) / stride + 1;
}

}  // namespace onehour
