#include "lines.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <utility>

#include "../../core/error.h"
#include "../../core/program.h"
#include "../../cpu/runtime/simd.h"

namespace onehour::test {
namespace {

constexpr size_t kLargest = size_t{1} << 20;  // bytes of an operand or workspace that is still run
constexpr size_t kGuard = 64;                 // bytes
constexpr char kGuardByte = 0x5a;

constexpr const char* kHeader =
    "onehour-program 1\nname p\narena param 99999999\narena weight 99999999\n"
    "arena grad 99999999\narena state 99999999\narena input 99999999\narena output 99999999\n"
    "arena temp 99999999\n";

// How a window of `size` slides.
struct Window {
  int64_t size, stride, padding;
};

// Sizes of a line. The larger ones are shared among threads and leave remainders everywhere.
struct Extents {
  int64_t images, pixels, channels, filters, elements;
};
constexpr Extents kSizes[] = {{2, 8, 16, 16, 96}, {3, 19, 35, 37, 40003}};

std::string repeated(const std::string& value, int64_t times) {
  return join(std::vector<std::string>(static_cast<size_t>(times), value), ',');
}

// A line of an op that its kernel takes, made from its signature; it has every attribute that any
// op reads. `whole` has the optional operands too.
std::string lineOf(std::string_view op, std::string_view signature, Extents size,
                   const Window& window, const std::string& type, bool whole) {
  if (signature.find(whole ? "mask" : "mask:") != std::string_view::npos) {
    size.channels = (size.channels + 7) / 8 * 8;  // whole bytes of a mask
  }
  const int64_t slid = (size.pixels + 2 * window.padding - window.size) / window.stride + 1;
  const std::map<char, int64_t> sizes{{'N', size.images},
                                      {'H', size.pixels},
                                      {'W', size.pixels},
                                      {'C', size.channels},
                                      {'D', size.channels},
                                      {'E', 2 * size.channels},                          // C + D
                                      {'F', size.pixels * size.pixels * size.channels},  // H·W·C
                                      {'K', size.filters},
                                      {'R', window.size},
                                      {'S', window.size},
                                      {'P', slid},
                                      {'Q', slid},
                                      {'B', size.channels / (type == "f32" ? 4 : 8)},  // a mask's
                                      {'L', size.elements},
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
          " epsilon=0.00001 decay=0.9 gain=0.1 count=256 factor=0.5 smoothing=0.1 scale=0.5 "
          "interval=8" +
          " communicator=gradients form=velocity nesterov=1 momentum=0.9 zero=0 offset=0 limit=1 "
          "coefficient=0.001" +
          " segments=" + first + ":0.0001" + rest("1:0") + " lengths=" + first + rest("1") +
          " adapts=" + repeated("1", tensors) + " mean=" + repeated("0.5", sizes.at('C')) +
          " std=" + repeated("0.2", sizes.at('C')) + " |";
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
    const size_t place = places.try_emplace(name, places.size() * kLargest).first->second;
    std::string letters = word.substr(colon + 1, open - colon - 1);
    if (letters == "T" || letters == "U") letters = type;
    if (letters == "V") letters = "bf16";
    std::string shape = word.substr(open + 1, word.size() - open - 2);
    if (shape == "...") shape = "N,H,W,C";
    auto extents = split(shape, ',');
    for (std::string& text : extents) text = extent(text);
    line += " " + name + "=temp+" + std::to_string(place) + ":" + letters + "[" +
            join(extents, ',') + "]";
  }
  return line;
}

// Memory of its own, followed by bytes that nobody may write; beyond them a sanitizer watches.
class Guarded {
 public:
  explicit Guarded(size_t bytes)
      : bytes_(bytes),
        memory_(static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + kGuard)),
                std::free) {
    std::memset(data(), 0xff, bytes);  // NaNs
    std::memset(data() + bytes, kGuardByte, kGuard);
  }

  // Labels from −1 to 9, bytes, or numbers between −2 and 2, positive where they are of no use
  // else.
  void fill(const Operand& operand) {
    const bool positive = operand.name == "running-variance" || operand.name == "norms";
    const int64_t count = static_cast<int64_t>(bytes_ / onehour::bytesOf(operand.type));
    for (int64_t i = 0; i < count; ++i) {
      const float number = static_cast<float>(below(2001)) / 500 - 2;
      const float value = positive ? std::abs(number) : number;
      if (operand.type == DataType::f32) reinterpret_cast<float*>(data())[i] = value;
      if (operand.type == DataType::bf16) {
        reinterpret_cast<cpu::bf16*>(data())[i] = cpu::store<cpu::bf16>(value);
      }
      if (operand.type == DataType::f16) {
        reinterpret_cast<cpu::f16*>(data())[i] = cpu::store<cpu::f16>(value);
      }
      if (operand.type == DataType::i32) {
        reinterpret_cast<int32_t*>(data())[i] = static_cast<int32_t>(below(11)) - 1;
      }
      if (operand.type == DataType::u8) data()[i] = static_cast<char>(below(256));
    }
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

Results resultsOf(const Instruction& instruction) {
  Results results;
  for (const Operand& operand : instruction.outputs) {
    std::vector<double>& numbers = results.emplace_back();
    for (int64_t i = 0; i < operand.count(); ++i) {
      numbers.push_back(operand.type == DataType::f32    ? operand.as<float>()[i]
                        : operand.type == DataType::bf16 ? cpu::load(operand.as<cpu::bf16>()[i])
                        : operand.type == DataType::f16  ? cpu::load(operand.as<cpu::f16>()[i])
                        : operand.type == DataType::u8   ? operand.as<uint8_t>()[i]
                                                         : operand.as<int32_t>()[i]);
    }
  }
  return results;
}

}  // namespace

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

std::vector<std::string> linesOf(const KernelTable& kernels) {
  std::map<std::string_view, std::string_view> signatures;  // in an order that repeats
  for (const auto& [op, entry] : kernels) signatures.emplace(op, entry.signature);
  std::vector<std::string> lines;
  const std::vector<Window> windows{{3, 1, 1}, {1, 2, 0}, {7, 2, 3}};
  for (const auto& [op, signature] : signatures) {
    const bool slides = signature.find("P,Q") != std::string_view::npos;
    for (const Extents& size : kSizes) {
      for (const Window& window : slides ? windows : std::vector{windows[0]}) {
        for (const char* type : {"f32", "bf16", "f16"}) {
          for (const bool whole : {true, false}) {
            lines.push_back(lineOf(op, signature, size, window, type, whole));
          }
        }
      }
    }
  }
  return lines;
}

LineRunner::LineRunner(std::shared_ptr<Backend> backend)
    : backend_(std::move(backend)), stream_(backend_->createStream("compute")) {}

// Runs a function on the stream's thread and rethrows what it threw.
template <typename Body>
void LineRunner::onStream(Body body) {
  std::exception_ptr error;
  const auto kernel = makeKernel([&](Stream&) {
    try {
      body();
    } catch (...) {
      error = std::current_exception();
    }
  });
  backend_->launch(*stream_, *kernel);
  backend_->synchronize(*stream_);
  if (error) std::rethrow_exception(error);
}

std::optional<Results> LineRunner::run(const std::string& line) {
  Program program = parseProgram(kHeader + ("compute " + line) + "\n");
  Instruction& instruction = program.instructions.at(0);
  const auto factory = backend_->kernels().find(instruction.op);
  if (factory == backend_->kernels().end()) return std::nullopt;
  std::map<std::pair<std::string, size_t>, size_t> bytes;
  for (const auto* side : {&instruction.inputs, &instruction.outputs}) {
    for (const Operand& operand : *side) {
      size_t& largest = bytes[{operand.arena, operand.offset}];
      largest = std::max(largest, operand.bytes());
      if (largest > kLargest) return std::nullopt;
    }
  }
  std::map<std::pair<std::string, size_t>, Guarded> memory;
  for (auto* side : {&instruction.inputs, &instruction.outputs}) {
    for (Operand& operand : *side) {
      const std::pair place{operand.arena, operand.offset};
      const auto [at, isNew] = memory.try_emplace(place, bytes[place]);
      if (isNew && side == &instruction.inputs) at->second.fill(operand);
      operand.data = at->second.data();
    }
  }
  PrepareContext context{*backend_, [](std::string_view) -> Communicator& {
                           throw Error("ERR_COLLECTIVE", "onehour", "no communicator");
                         }};
  std::unique_ptr<Kernel> kernel;
  onStream([&] { kernel = factory->second.prepare(instruction, context); });
  if (kernel->workspaceBytes() > 64 * kLargest) return std::nullopt;
  const Guarded workspace(kernel->workspaceBytes());
  stream_->bindWorkspace(workspace.data());
  onStream([&] { kernel->run(*stream_); });
  bool intact = workspace.intact();
  for (const auto& [place, guarded] : memory) intact = intact && guarded.intact();
  if (!intact) throw std::runtime_error("memory was overrun");
  return resultsOf(instruction);
}

}  // namespace onehour::test
