// The program text, parsed: arenas and instructions with checked operands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace onehour {

enum class DataType : uint8_t { f32, bf16, f16, u8, i32 };
size_t bytesOf(DataType type);
std::string_view nameOf(DataType type);
std::optional<DataType> typeNamed(std::string_view name);

// `name=arena+offset:dtype[d,d,…]`: a dense row-major tensor inside an arena.
struct Operand {
  std::string name;
  std::string arena;
  size_t offset = 0;  // bytes
  DataType type = DataType::f32;
  std::vector<int64_t> shape;
  void* data = nullptr;  // resolved when the program is loaded (per slot for input and output)

  int64_t count() const;  // elements
  size_t bytes() const;
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// One line: `stream op key=value … | inputs -> outputs # comment`.
class Instruction {
 public:
  std::string stream;
  std::string op;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  int line = 0;      // 1-based line in the program text
  std::string text;  // the line itself

  // The named operand; throws an Error that quotes the line when it is absent.
  const Operand& input(std::string_view name) const;
  const Operand& output(std::string_view name) const;
  // The named operand or nullptr.
  const Operand* findInput(std::string_view name) const;
  const Operand* findOutput(std::string_view name) const;

  const std::string* findAttribute(std::string_view key) const;  // or nullptr
  // An attribute's value; without a fallback a missing one throws, a malformed one always does.
  int64_t integer(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t fallback) const;
  double number(std::string_view key) const;
  double number(std::string_view key, double fallback) const;
  std::string_view word(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;  // comma separated
  std::vector<int64_t> integers(std::string_view key) const;
};

struct Arena {
  std::string name;
  size_t bytes = 0;  // of one slot
  int slots = 1;     // 1, or more for input and output
};

struct Program {
  std::string name;
  std::vector<Arena> arenas;
  std::vector<Instruction> instructions;
};

// Parses untrusted text. Throws an Error with code ERR_PROGRAM that quotes the offending line.
Program parseProgram(std::string_view text);

}  // namespace onehour
