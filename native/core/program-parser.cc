// The strict parser of the program text. The text is untrusted: every number is bounded before it
// is used, every error quotes its line.
#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "program-error.h"
#include "program.h"
#include "words.h"

namespace onehour {
namespace {

constexpr std::string_view kHeader = "onehour-program 1";
constexpr size_t kMaximumText = size_t{1} << 28;         // bytes
constexpr size_t kMaximumArena = size_t{1} << 46;        // bytes of one slot
constexpr int64_t kMaximumDimension = int64_t{1} << 40;  // elements
constexpr size_t kMaximumRank = 8;
constexpr int64_t kMaximumSlots = 64;
constexpr int64_t kMaximumEvent = 65535;
constexpr size_t kMaximumWord = 128;  // characters of a name

constexpr std::array<std::string_view, 7> kArenas{"param", "weight", "grad", "state",
                                                  "input", "output", "temp"};
constexpr std::array<std::string_view, 3> kStreams{"compute", "comm", "statistics"};

template <typename List>
std::string join(const List& list) {
  std::string result;
  for (const auto& item : list) {
    if (!result.empty()) result += ", ";
    result += item;
  }
  return result;
}

bool isWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

bool isWord(std::string_view text) {
  return !text.empty() && text.size() <= kMaximumWord &&
         std::all_of(text.begin(), text.end(), isWordCharacter);
}

// Decimal digits without sign or leading zeros, at most `maximum`.
std::optional<int64_t> parseNatural(std::string_view text, int64_t maximum) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  int64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    if (value > (std::numeric_limits<int64_t>::max() - 9) / 10) return std::nullopt;
    value = value * 10 + (c - '0');
  }
  if (value > maximum) return std::nullopt;
  return value;
}

class Parser {
 public:
  Program parse(std::string_view text) {
    if (text.size() > kMaximumText) {
      programError(0, "",
                   "the text has " + counted(text.size(), "byte") + ", more than " +
                       std::to_string(kMaximumText));
    }
    for (const std::string_view line : split(text, '\n')) {
      ++number_;
      line_ = line;
      parseLine();
    }
    line_ = {};
    if (!header_) refuse("the text is empty, expected \"" + std::string(kHeader) + "\"");
    if (program_.name.empty()) refuse("the program has no name, expected a line \"name <word>\"");
    return std::move(program_);
  }

 private:
  [[noreturn]] void refuse(const std::string& message) const {
    programError(number_, line_, message);
  }

  void parseLine() {
    for (const char c : line_) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        refuse("control character in the text");
    }
    if (line_.empty() || line_[0] == '#') return;
    if (!header_) {
      if (line_ != kHeader) refuse("expected the header \"" + std::string(kHeader) + "\"");
      header_ = true;
      return;
    }
    tokens_ = split(line_, ' ');
    const auto comment = std::find_if(tokens_.begin(), tokens_.end(),
                                      [](std::string_view t) { return t.starts_with('#'); });
    tokens_.erase(comment, tokens_.end());
    for (const std::string_view token : tokens_) {
      if (token.empty()) refuse("words are separated by single spaces, none at the end");
    }
    if (tokens_[0] == "name") {
      parseName();
    } else if (tokens_[0] == "arena") {
      parseArena();
    } else {
      parseInstruction();
    }
  }

  void parseName() {
    if (!program_.name.empty()) refuse("a second name");
    if (tokens_.size() != 2 || !isWord(tokens_[1])) refuse("expected \"name <word>\"");
    program_.name = tokens_[1];
  }

  void parseArena() {
    if (!program_.instructions.empty()) refuse("arenas come before the first instruction");
    if (tokens_.size() < 3 || tokens_.size() > 4) {
      refuse("expected \"arena <name> <bytes> [slots=<count>]\"");
    }
    if (std::find(kArenas.begin(), kArenas.end(), tokens_[1]) == kArenas.end()) {
      refuse("unknown arena \"" + quote(tokens_[1]) + "\", expected one of " + join(kArenas));
    }
    Arena arena;
    arena.name = tokens_[1];
    const auto bytes = parseNatural(tokens_[2], static_cast<int64_t>(kMaximumArena));
    if (!bytes) refuse("bytes of an arena are a number up to " + std::to_string(kMaximumArena));
    arena.bytes = static_cast<size_t>(*bytes);
    if (tokens_.size() == 4) {
      if (arena.name != "input" && arena.name != "output") {
        refuse("only the arenas input and output have slots");
      }
      if (!tokens_[3].starts_with("slots=")) refuse("expected slots=<count>");
      const auto slots = parseNatural(tokens_[3].substr(6), kMaximumSlots);
      if (!slots || *slots < 1) refuse("slots are 1 to " + std::to_string(kMaximumSlots));
      arena.slots = static_cast<int>(*slots);
    }
    if (!arenas_.emplace(arena.name, arena.bytes).second) refuse("a second arena " + arena.name);
    program_.arenas.push_back(std::move(arena));
  }

  void parseInstruction() {
    Instruction instruction;
    instruction.line = number_;
    instruction.text = line_;
    if (std::find(kStreams.begin(), kStreams.end(), tokens_[0]) == kStreams.end()) {
      refuse("unknown stream \"" + quote(tokens_[0]) + "\", expected one of " + join(kStreams));
    }
    instruction.stream = tokens_[0];
    if (tokens_.size() < 2 || !isWord(tokens_[1])) refuse("expected an operation after the stream");
    instruction.op = tokens_[1];
    size_t position = 2;
    for (; position < tokens_.size() && tokens_[position] != "|"; ++position) {
      parseAttribute(instruction, tokens_[position]);
    }
    if (position < tokens_.size()) {
      ++position;
      const size_t arrow =
          std::find(tokens_.begin() + static_cast<ptrdiff_t>(position), tokens_.end(), "->") -
          tokens_.begin();
      if (arrow == tokens_.size()) refuse("expected \"->\" between inputs and outputs");
      for (; position < arrow; ++position) {
        parseOperand(instruction.inputs, tokens_[position]);
      }
      for (++position; position < tokens_.size(); ++position) {
        parseOperand(instruction.outputs, tokens_[position]);
      }
      checkInPlace(instruction);
    }
    if (instruction.op == "signal" || instruction.op == "wait") checkEvent(instruction);
    program_.instructions.push_back(std::move(instruction));
  }

  void parseAttribute(Instruction& instruction, std::string_view token) {
    const size_t equals = token.find('=');
    if (equals == std::string_view::npos || !isWord(token.substr(0, equals)) ||
        equals + 1 == token.size()) {
      refuse("expected key=value, got \"" + quote(token) + "\"");
    }
    const std::string_view key = token.substr(0, equals);
    for (const auto& [known, value] : instruction.attributes) {
      if (known == key) refuse("a second attribute " + known);
    }
    instruction.attributes.emplace_back(key, token.substr(equals + 1));
  }

  void parseOperand(std::vector<Operand>& side, std::string_view token) {
    const auto malformed = [&] {
      refuse("expected an operand name=arena+offset:dtype[d,d,...], got \"" + quote(token) + "\"");
    };
    const size_t equals = token.find('=');
    const size_t plus = token.find('+', equals == std::string_view::npos ? 0 : equals);
    const size_t colon = token.find(':', plus == std::string_view::npos ? 0 : plus);
    const size_t open = token.find('[', colon == std::string_view::npos ? 0 : colon);
    if (equals == std::string_view::npos || plus == std::string_view::npos ||
        colon == std::string_view::npos || open == std::string_view::npos ||
        !token.ends_with(']')) {
      malformed();
    }
    Operand operand;
    operand.name = token.substr(0, equals);
    if (!isWord(operand.name)) malformed();
    for (const Operand& other : side) {
      if (other.name == operand.name) refuse("a second operand " + operand.name + " on one side");
    }

    operand.arena = token.substr(equals + 1, plus - equals - 1);
    const auto arena = arenas_.find(operand.arena);
    if (arena == arenas_.end()) {
      refuse("operand " + operand.name + ": arena \"" + quote(operand.arena) +
             "\" was not declared");
    }

    const std::string_view type = token.substr(colon + 1, open - colon - 1);
    const auto known = typeNamed(type);
    if (!known) {
      refuse("operand " + operand.name + ": unknown dtype \"" + quote(type) +
             "\", expected f32, bf16, f16, u8 or i32");
    }
    operand.type = *known;

    const std::string_view dimensions = token.substr(open + 1, token.size() - open - 2);
    const size_t elementBytes = bytesOf(operand.type);
    size_t bytes = elementBytes;
    if (!dimensions.empty()) {
      const auto parts = split(dimensions, ',');
      if (parts.size() > kMaximumRank) {
        refuse("operand " + operand.name + " has more than " + std::to_string(kMaximumRank) +
               " dimensions");
      }
      for (const std::string_view part : parts) {
        const auto size = parseNatural(part, kMaximumDimension);
        if (!size || *size < 1) {
          refuse("operand " + operand.name + ": a dimension is a number from 1 to " +
                 std::to_string(kMaximumDimension));
        }
        // Checked by division: the product itself could overflow.
        if (bytes > kMaximumArena / static_cast<size_t>(*size)) {
          refuse("operand " + operand.name + " is larger than any arena");
        }
        bytes *= static_cast<size_t>(*size);
        operand.shape.push_back(*size);
      }
    }

    const auto offset =
        parseNatural(token.substr(plus + 1, colon - plus - 1), static_cast<int64_t>(kMaximumArena));
    if (!offset) refuse("operand " + operand.name + ": malformed offset");
    operand.offset = static_cast<size_t>(*offset);
    if (operand.offset % elementBytes != 0) {
      refuse("operand " + operand.name + ": offset " + std::to_string(operand.offset) +
             " is not a multiple of " + std::to_string(elementBytes));
    }
    if (bytes > arena->second || operand.offset > arena->second - bytes) {
      refuse("operand " + operand.name + " ends at byte " + std::to_string(operand.offset + bytes) +
             ", but arena " + operand.arena + " has " + std::to_string(arena->second));
    }
    side.push_back(std::move(operand));
  }

  // A name on both sides means one tensor that is updated in place.
  void checkInPlace(const Instruction& instruction) const {
    for (const Operand& output : instruction.outputs) {
      const Operand* input = instruction.findInput(output.name);
      if (input == nullptr) continue;
      if (input->arena != output.arena || input->offset != output.offset ||
          input->type != output.type || input->shape != output.shape) {
        refuse("operand " + output.name + " is on both sides but is not the same tensor");
      }
    }
  }

  void checkEvent(const Instruction& instruction) {
    if (instruction.attributes.size() != 1 || instruction.attributes[0].first != "event" ||
        !instruction.inputs.empty() || !instruction.outputs.empty()) {
      refuse("expected \"" + instruction.op + " event=<number>\" and nothing else");
    }
    const auto event = parseNatural(instruction.attributes[0].second, kMaximumEvent);
    if (!event) refuse("an event is a number up to " + std::to_string(kMaximumEvent));
    if (instruction.op == "signal") {
      if (!events_.insert(*event).second) refuse("event is signalled twice");
    } else if (!events_.contains(*event)) {
      refuse("waits for an event that no earlier line signals");
    }
  }

  Program program_;
  std::unordered_map<std::string, size_t> arenas_;  // bytes of one slot
  std::unordered_set<int64_t> events_;
  std::vector<std::string_view> tokens_;
  std::string_view line_;
  int number_ = 0;
  bool header_ = false;
};

}  // namespace

Program parseProgram(std::string_view text) { return Parser().parse(text); }

}  // namespace onehour
