// Reads signatures, once each, and matches an instruction's operands to them in their order.
#include "signature.h"

#include <cctype>
#include <charconv>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ops/check.h"
#include "words.h"

namespace onehour {
namespace {

// `name?:type[sizes]`.
struct Pattern {
  std::string_view name, type;
  bool optional = false;
  bool anyShape = false;
  std::vector<std::string_view> sizes;

  explicit Pattern(std::string_view text) {
    const size_t colon = text.find(':');
    const size_t open = text.find('[');
    if (colon == std::string_view::npos || open == std::string_view::npos || text.back() != ']') {
      throw std::logic_error("malformed operand in a signature: " + std::string(text));
    }
    name = text.substr(0, colon);
    optional = name.ends_with('?');
    if (optional) name.remove_suffix(1);
    type = text.substr(colon + 1, open - colon - 1);
    const std::string_view inside = text.substr(open + 1, text.size() - open - 2);
    anyShape = inside == "...";
    if (!anyShape) sizes = split(inside, ',');
  }
};

// factor · letter + add; a letter of 0 stands for a number alone.
struct Size {
  int64_t factor = 0;
  char letter = 0;
  int64_t add = 0;

  explicit Size(std::string_view text) {
    const char* at = text.data();
    const char* const end = at + text.size();
    const auto number = [&](int64_t fallback) {
      int64_t value = fallback;
      at = std::from_chars(at, end, value).ptr;
      return value;
    };
    factor = number(1);
    if (at == end) {
      add = factor;
      return;
    }
    letter = *at++;
    if (at != end && *at == '+') {
      ++at;
      add = number(0);
    }
    if (at != end) throw std::logic_error("malformed size in a signature: " + std::string(text));
  }
};

// Checks operand after operand; the first operand that has a letter says what it stands for.
class Matcher {
 public:
  explicit Matcher(const Instruction& instruction) : instruction_(instruction) {}

  void check(const Pattern& pattern, const Operand& operand) {
    const DataType type = typeOf(pattern, operand);
    if (type != operand.type || !fits(pattern, operand.shape)) {
      shapeError(instruction_, describe(pattern, type, operand), operand);
    }
    learn(pattern, operand);
  }

 private:
  // The type that the operand should have.
  DataType typeOf(const Pattern& pattern, const Operand& operand) const {
    if (const auto known = types_.find(pattern.type); known != types_.end()) return known->second;
    if (pattern.type == "U" || pattern.type == "V") return operand.type;
    if (pattern.type == "T") return computeType(instruction_, operand);
    if (const auto named = typeNamed(pattern.type)) return *named;
    throw std::logic_error("unknown type in a signature: " + std::string(pattern.type));
  }

  // Nothing while the letter is not known.
  std::optional<int64_t> extentOf(const Size& size) const {
    if (size.letter == 0) return size.add;
    const auto known = sizes_.find(size.letter);
    if (known == sizes_.end()) return std::nullopt;
    return size.factor * known->second + size.add;
  }

  bool fits(const Pattern& pattern, const Shape& shape) const {
    if (pattern.anyShape) return any_ == nullptr || *any_ == shape;
    if (pattern.sizes.size() != shape.size()) return false;
    std::map<char, int64_t> here;
    for (size_t i = 0; i < shape.size(); ++i) {
      const Size size(pattern.sizes[i]);
      if (const auto expected = extentOf(size)) {
        if (*expected != shape[i]) return false;
        continue;
      }
      const int64_t rest = shape[i] - size.add;
      if (rest < size.factor || rest % size.factor != 0) return false;
      const int64_t value = rest / size.factor;
      if (here.try_emplace(size.letter, value).first->second != value) return false;
    }
    return true;
  }

  // Of an operand that fits.
  void learn(const Pattern& pattern, const Operand& operand) {
    if (std::isupper(static_cast<unsigned char>(pattern.type.front())) != 0) {
      types_.emplace(pattern.type, operand.type);
    }
    if (pattern.anyShape) any_ = &operand.shape;
    for (size_t i = 0; i < pattern.sizes.size(); ++i) {
      const Size size(pattern.sizes[i]);
      if (size.letter == 0) continue;
      sizes_.try_emplace(size.letter, (operand.shape[i] - size.add) / size.factor);
    }
  }

  // What is known of the operand; "?" stands for any extent.
  std::string describe(const Pattern& pattern, DataType type, const Operand& operand) const {
    if (pattern.anyShape) {
      return onehour::describe(operand.name, nameOf(type), any_ ? *any_ : operand.shape);
    }
    Shape shape;
    bool known = false;
    for (const std::string_view text : pattern.sizes) {
      const auto extent = extentOf(Size(text));
      known = known || extent.has_value();
      shape.push_back(extent.value_or(-1));
    }
    return onehour::describe(operand.name, nameOf(type), shape) +
           (known ? "" : " with extents of at least 1");
  }

  const Instruction& instruction_;
  std::map<std::string_view, DataType> types_;
  std::map<char, int64_t> sizes_;
  const Shape* any_ = nullptr;
};

// Names the first operand of a side that the signature does not have.
[[noreturn]] void refuseOthers(const Instruction& instruction, std::string_view signature,
                               const std::vector<Operand>& operands) {
  for (const Operand& operand : operands) {
    bool known = false;
    for (const std::string_view word : split(signature, ' ')) {
      known = known || (word != "->" && Pattern(word).name == operand.name);
    }
    if (!known) shapeError(instruction, "the operands " + std::string(signature), operand);
  }
  throw Error("ERR_SHAPE", "onehour",
              "[" + instruction.op + "] expected the operands " + std::string(signature));
}

}  // namespace

void expectOperands(const Instruction& instruction, std::string_view signature) {
  Matcher matcher(instruction);
  bool isInput = true;
  size_t found = 0;
  const auto endSide = [&](const std::vector<Operand>& operands) {
    if (found != operands.size()) refuseOthers(instruction, signature, operands);
    found = 0;
  };
  for (const std::string_view word : split(signature, ' ')) {
    if (word == "->") {
      endSide(instruction.inputs);
      isInput = false;
      continue;
    }
    const Pattern pattern(word);
    const Operand* operand =
        isInput ? instruction.findInput(pattern.name) : instruction.findOutput(pattern.name);
    if (operand == nullptr && pattern.optional) continue;
    if (operand == nullptr) {  // throws
      operand = isInput ? &instruction.input(pattern.name) : &instruction.output(pattern.name);
    }
    matcher.check(pattern, *operand);
    ++found;
  }
  endSide(instruction.outputs);
}

}  // namespace onehour
