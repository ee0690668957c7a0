// Lines made from the signatures of all ops, mutated: whatever the parser and a kernel's factory
// accept must run inside its operands and its workspace, and whatever they refuse must be an Error.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../../core/error.h"
#include "../../core/program.h"
#include "../../cpu/runtime/backend.h"

namespace onehour {
namespace {

constexpr int kRounds = 4000;
constexpr size_t kLargest = size_t{1} << 20;  // bytes of an operand or workspace that is still run
constexpr size_t kGuard = 64;                 // bytes
constexpr char kGuardByte = 0x5a;

constexpr const char* kHeader =
    "onehour-program 1\nname p\narena param 99999999\narena weight 99999999\n"
    "arena grad 99999999\narena state 99999999\narena input 99999999\narena output 99999999\n"
    "arena temp 99999999\n";

const std::vector<std::string> kNumbers{"0",  "1",  "2",  "3",   "4",       "5",
                                        "7",  "8",  "16", "17",  "32",      "33",
                                        "64", "-1", "99", "0.5", "1048576", "9223372036854775807"};
const std::vector<std::string> kTypes{"f32", "bf16", "f16", "u8", "i32"};

std::mt19937_64 generator;

size_t below(size_t bound) { return generator() % bound; }

const std::string& any(const std::vector<std::string>& words) { return words[below(words.size())]; }

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::string join(const std::vector<std::string>& parts, char separator) {
  std::string text = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) text += separator + parts[i];
  return text;
}

// How a window of `size` slides over 8 pixels.
struct Window {
  int64_t size, stride, padding;
  int64_t outputs() const { return (8 + 2 * padding - size) / stride + 1; }
};

std::string repeated(const std::string& value, int64_t times) {
  return join(std::vector<std::string>(static_cast<size_t>(times), value), ',');
}

// A line of an op that its kernel takes, made from its signature; it has every attribute that any
// op reads. `whole` has the optional operands too.
std::string lineOf(std::string_view op, std::string_view signature, const Window& window,
                   const std::string& type, bool whole) {
  const std::map<char, int64_t> sizes{{'N', 2},
                                      {'H', 8},
                                      {'W', 8},
                                      {'C', 16},
                                      {'D', 16},
                                      {'E', 32},          // C + D
                                      {'F', 8 * 8 * 16},  // H·W·C
                                      {'K', 16},
                                      {'R', window.size},
                                      {'S', window.size},
                                      {'P', window.outputs()},
                                      {'Q', window.outputs()},
                                      {'L', 96},
                                      {'G', 2}};
  const auto extent = [&](const std::string& text) {
    const size_t letter = text.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (letter == std::string::npos) return text;
    const int64_t factor = letter == 0 ? 1 : std::stoll(text);
    const int64_t add = letter + 1 == text.size() ? 0 : std::stoll(text.substr(letter + 2));
    return std::to_string(factor * sizes.at(text[letter]) + add);
  };
  const auto pair = [](int64_t value) { return repeated(std::to_string(value), 2); };
  // S tensors that make up L elements.
  const int64_t tensors = sizes.at('S');
  const std::string first = std::to_string(sizes.at('L') - tensors + 1);
  const auto rest = [&](const char* text) {
    std::string others;
    for (int64_t i = 1; i < tensors; ++i) others.append(",").append(text);
    return others;
  };
  std::string line(op);
  line += " stride=" + pair(window.stride) + " padding=" + pair(window.padding) +
          " window=" + pair(window.size) + " relu=" + (whole ? "1" : "0") +
          " epsilon=0.00001 decay=0.9 gain=0.1 count=256 factor=0.5 smoothing=0.1 scale=0.5" +
          " communicator=gradients form=velocity nesterov=1 momentum=0.9 zero=0 offset=0 limit=1 "
          "coefficient=0.001" +
          " segments=" + first + ":0.0001" + rest("1:0") + " lengths=" + first + rest("1") +
          " decays=" + repeated("0.1", tensors) + " adapts=" + repeated("1", tensors) +
          " mean=" + repeated("0.5", sizes.at('C')) + " std=" + repeated("0.2", sizes.at('C')) +
          " |";
  std::map<std::string, size_t> places;
  for (const std::string& word : split(std::string(signature), ' ')) {
    if (word == "->") {
      line += " ->";
      continue;
    }
    const size_t colon = word.find(':');
    const size_t open = word.find('[');
    const bool optional = word[colon - 1] == '?';
    if (optional && !whole) continue;
    const std::string name = word.substr(0, optional ? colon - 1 : colon);
    const size_t place = places.try_emplace(name, places.size() * 65536).first->second;
    std::string letters = word.substr(colon + 1, open - colon - 1);
    if (letters == "T" || letters == "U") letters = type;
    if (letters == "V") letters = "bf16";
    std::string shape = word.substr(open + 1, word.size() - open - 2);
    if (shape == "...") shape = "N,4,4,C";
    auto extents = split(shape, ',');
    for (std::string& text : extents) text = extent(text);
    line += " " + name + "=temp+" + std::to_string(place) + ":" + letters + "[" +
            join(extents, ',') + "]";
  }
  return line;
}

std::vector<std::string> linesOf(const KernelTable& kernels) {
  std::map<std::string_view, std::string_view> signatures;  // in an order that repeats
  for (const auto& [op, entry] : kernels) signatures.emplace(op, entry.signature);
  std::vector<std::string> lines;
  for (const auto& [op, signature] : signatures) {
    for (const Window& window : {Window{3, 1, 1}, Window{1, 2, 0}, Window{7, 2, 3}}) {
      for (const char* type : {"f32", "bf16"}) {
        for (const bool whole : {true, false}) {
          lines.push_back(lineOf(op, signature, window, type, whole));
        }
      }
    }
  }
  return lines;
}

// An operand, an attribute or the op with something else in one place.
std::string mutated(const std::string& token, const std::vector<std::string>& lines) {
  const size_t colon = token.find(':');
  const size_t open = token.find('[');
  const size_t equals = token.find('=');
  if (open != std::string::npos) {
    if (below(6) == 0) return token.substr(0, colon + 1) + any(kTypes) + token.substr(open);
    auto sizes = split(token.substr(open + 1, token.size() - open - 2), ',');
    const size_t kind = below(5);
    if (kind == 0) sizes.push_back("1");
    if (kind == 1 && sizes.size() > 1) sizes.pop_back();
    if (kind == 2) std::swap(sizes[0], sizes[below(sizes.size())]);
    if (kind > 2) sizes[below(sizes.size())] = any(kNumbers);
    return token.substr(0, open + 1) + join(sizes, ',') + "]";
  }
  if (equals != std::string::npos) {
    auto values = split(token.substr(equals + 1), ',');
    if (below(6) == 0) values.push_back(any(kNumbers));
    values[below(values.size())] = any(kNumbers);
    return token.substr(0, equals + 1) + join(values, ',');
  }
  if (token == "|" || token == "->") return token;
  return split(any(lines), ' ')[0];
}

// One size everywhere in the line replaced by another: often a valid line again.
std::string resized(const std::string& line) {
  const std::string from = any(kNumbers);
  const std::string to = any(kNumbers);
  auto tokens = split(line, ' ');
  for (std::string& token : tokens) {
    const size_t open = token.find('[');
    if (open == std::string::npos) continue;
    auto sizes = split(token.substr(open + 1, token.size() - open - 2), ',');
    std::replace(sizes.begin(), sizes.end(), from, to);
    token = token.substr(0, open + 1) + join(sizes, ',') + "]";
  }
  return join(tokens, ' ');
}

// Memory of its own, followed by bytes that nobody may write; beyond them a sanitizer watches.
class Guarded {
 public:
  explicit Guarded(size_t bytes, bool labels = false)
      : bytes_(bytes),
        memory_(static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + kGuard)),
                std::free) {
    // Labels from −1 to 9, or floats between −2 and 2.
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
      const auto label = static_cast<int32_t>(below(11)) - 1;
      const float value = static_cast<float>(below(2001)) / 500 - 2;
      std::memcpy(data() + i, labels ? static_cast<const void*>(&label) : &value, 4);
    }
    std::memset(data() + bytes, kGuardByte, kGuard);
  }
  char* data() const { return memory_.get(); }
  bool intact() const {
    return std::all_of(data() + bytes_, data() + bytes_ + kGuard,
                       [](char byte) { return byte == kGuardByte; });
  }

 private:
  size_t bytes_;
  std::unique_ptr<char, decltype(&std::free)> memory_;
};

struct Device {
  std::shared_ptr<Backend> backend = cpu::createCpuBackend(2);
  std::unique_ptr<Stream> stream = backend->createStream("compute");

  // Runs a function on the stream's thread and rethrows what it threw.
  template <typename Body>
  void run(Body body) {
    std::exception_ptr error;
    const auto kernel = makeKernel([&](Stream&) {
      try {
        body();
      } catch (...) {
        error = std::current_exception();
      }
    });
    backend->launch(*stream, *kernel);
    backend->synchronize(*stream);
    if (error) std::rethrow_exception(error);
  }
};

// Whether the line was accepted and ran. Throws Error where it is refused.
bool attempt(Device& device, const std::string& line) {
  Program program = parseProgram(kHeader + ("compute " + line) + "\n");
  Instruction& instruction = program.instructions.at(0);
  const auto factory = device.backend->kernels().find(instruction.op);
  if (factory == device.backend->kernels().end()) return false;
  std::map<std::pair<std::string, size_t>, size_t> bytes;
  for (const auto* side : {&instruction.inputs, &instruction.outputs}) {
    for (const Operand& operand : *side) {
      size_t& largest = bytes[{operand.arena, operand.offset}];
      largest = std::max(largest, operand.bytes());
      if (largest > kLargest) return false;
    }
  }
  std::map<std::pair<std::string, size_t>, Guarded> memory;
  for (auto* side : {&instruction.inputs, &instruction.outputs}) {
    for (Operand& operand : *side) {
      const std::pair place{operand.arena, operand.offset};
      const auto at = memory.try_emplace(place, bytes[place], operand.type == DataType::i32).first;
      operand.data = at->second.data();
    }
  }
  PrepareContext context{*device.backend, [](std::string_view) -> Communicator& {
                           throw Error("ERR_COLLECTIVE", "onehour", "no communicator");
                         }};
  std::unique_ptr<Kernel> kernel;
  device.run([&] { kernel = factory->second.prepare(instruction, context); });
  if (kernel->workspaceBytes() > 64 * kLargest) return false;
  const Guarded workspace(kernel->workspaceBytes());
  device.stream->bindWorkspace(workspace.data());
  device.run([&] { kernel->run(*device.stream); });
  bool intact = workspace.intact();
  for (const auto& [place, guarded] : memory) intact = intact && guarded.intact();
  if (!intact) throw std::runtime_error("memory was overrun");
  return true;
}

int fuzz() {
  Device device;
  int failures = 0;
  int ran = 0;
  int refused = 0;
  const auto check = [&](const std::string& line, bool whole) {
    try {
      if (attempt(device, line)) ++ran;
    } catch (const Error& error) {
      ++refused;
      if (!whole || error.code == "ERR_COLLECTIVE") return;  // there is nobody to talk with
      std::fprintf(stderr, "refused: %s\n  %s\n", line.c_str(), error.what());
      ++failures;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", error.what(), line.c_str());
      ++failures;
    }
  };
  const std::vector<std::string> lines = linesOf(device.backend->kernels());
  for (const std::string& line : lines) check(line, true);
  for (int round = 0; round < kRounds; ++round) {
    generator.seed(static_cast<uint64_t>(round));
    std::string line = any(lines);
    if (below(2) == 0) line = resized(line);
    for (size_t changes = below(3); changes > 0; --changes) {
      auto tokens = split(line, ' ');
      const size_t place = below(tokens.size());
      if (below(12) == 0 && tokens.size() > 1) {
        tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(place));
      } else {
        tokens[place] = mutated(tokens[place], lines);
      }
      line = join(tokens, ' ');
    }
    check(line, false);
  }
  std::printf("fuzz: %d lines ran, %d were refused, %d failures\n", ran, refused, failures);
  return failures == 0 && ran > kRounds / 10 && refused > kRounds / 10 ? 0 : 1;
}

}  // namespace
}  // namespace onehour

int main() { return onehour::fuzz(); }
