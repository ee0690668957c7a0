// An instruction's operands and attributes, and the errors that quote its line.
#include "program.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "error.h"
#include "program-error.h"
#include "words.h"

namespace onehour {
namespace {

constexpr size_t kMaximumQuotation = 300;  // characters of a line that an error repeats

struct TypeEntry {
  std::string_view name;
  size_t bytes;
};
constexpr std::array<TypeEntry, 5> kTypes{
    {{"f32", 4}, {"bf16", 2}, {"f16", 2}, {"u8", 1}, {"i32", 4}}};

template <typename Number>
std::optional<Number> parseWhole(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

const Operand* find(const std::vector<Operand>& operands, std::string_view name) {
  for (const Operand& operand : operands) {
    if (operand.name == name) return &operand;
  }
  return nullptr;
}

[[noreturn]] void refuse(const Instruction& instruction, const std::string& message) {
  programError(instruction.line, instruction.text, "[" + instruction.op + "] " + message);
}

const std::string& requireAttribute(const Instruction& instruction, std::string_view key) {
  const std::string* value = instruction.findAttribute(key);
  if (value == nullptr) refuse(instruction, "attribute " + std::string(key) + " is missing");
  return *value;
}

template <typename Number>
Number parseAttributeNumber(const Instruction& instruction, std::string_view key,
                            std::string_view text) {
  const auto value = parseWhole<Number>(text);
  bool good = value.has_value();
  if constexpr (std::is_floating_point_v<Number>) good = good && std::isfinite(*value);
  if (!good) {
    refuse(instruction, "attribute " + std::string(key) + ": \"" + quote(text) + "\" is not " +
                            (std::is_floating_point_v<Number> ? "a finite number" : "an integer"));
  }
  return *value;
}

template <typename Number>
std::vector<Number> parseAttributeList(const Instruction& instruction, std::string_view key) {
  std::vector<Number> values;
  for (const std::string_view part : split(requireAttribute(instruction, key), ',')) {
    values.push_back(parseAttributeNumber<Number>(instruction, key, part));
  }
  return values;
}

}  // namespace

size_t bytesOf(DataType type) { return kTypes[static_cast<size_t>(type)].bytes; }
std::string_view nameOf(DataType type) { return kTypes[static_cast<size_t>(type)].name; }

std::optional<DataType> typeNamed(std::string_view name) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<DataType>(i);
  }
  return std::nullopt;
}

std::string quote(std::string_view text) {
  std::string result;
  for (const char c : text.substr(0, kMaximumQuotation)) {
    const auto byte = static_cast<unsigned char>(c);
    result += byte < 0x20 || byte >= 0x7f ? '?' : c;
  }
  if (text.size() > kMaximumQuotation) result += "...";
  return result;
}

void programError(int line, std::string_view text, const std::string& message) {
  const std::string quotation = quote(text);
  Error error("ERR_PROGRAM", "onehour",
              "program line " + std::to_string(line) + ": " + message + "\n  " + quotation);
  error.line = line;
  error.text = quotation;
  throw error;
}

int64_t Operand::count() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

size_t Operand::bytes() const { return static_cast<size_t>(count()) * bytesOf(type); }

const Operand* Instruction::findInput(std::string_view name) const { return find(inputs, name); }
const Operand* Instruction::findOutput(std::string_view name) const { return find(outputs, name); }

const std::string* Instruction::findAttribute(std::string_view key) const {
  for (const auto& [known, value] : attributes) {
    if (known == key) return &value;
  }
  return nullptr;
}

const Operand& Instruction::input(std::string_view name) const {
  const Operand* operand = findInput(name);
  if (operand == nullptr) refuse(*this, "input " + std::string(name) + " is missing");
  return *operand;
}

const Operand& Instruction::output(std::string_view name) const {
  const Operand* operand = findOutput(name);
  if (operand == nullptr) refuse(*this, "output " + std::string(name) + " is missing");
  return *operand;
}

int64_t Instruction::integer(std::string_view key) const {
  return parseAttributeNumber<int64_t>(*this, key, requireAttribute(*this, key));
}

int64_t Instruction::integer(std::string_view key, int64_t fallback) const {
  return findAttribute(key) == nullptr ? fallback : integer(key);
}

double Instruction::number(std::string_view key) const {
  return parseAttributeNumber<double>(*this, key, requireAttribute(*this, key));
}

double Instruction::number(std::string_view key, double fallback) const {
  return findAttribute(key) == nullptr ? fallback : number(key);
}

std::string_view Instruction::word(std::string_view key) const {
  return requireAttribute(*this, key);
}

std::vector<double> Instruction::numbers(std::string_view key) const {
  return parseAttributeList<double>(*this, key);
}

std::vector<int64_t> Instruction::integers(std::string_view key) const {
  return parseAttributeList<int64_t>(*this, key);
}

}  // namespace onehour
