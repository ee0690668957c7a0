// Lines of real programs, mutated: whatever the parser and a kernel's factory accept must run
// inside its operands and its workspace, and whatever they refuse must be an Error.
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

const std::vector<std::string> kLines{
    "conv2d stride=1,1 padding=1,1 | x=temp+0:f32[2,8,8,3] w=param+0:f32[16,3,3,3] -> "
    "y=temp+8192:f32[2,8,8,16]",
    "conv2d stride=2,2 padding=0,0 | x=temp+0:bf16[2,8,8,16] w=weight+0:bf16[32,1,1,16] -> "
    "y=temp+8192:bf16[2,4,4,32]",
    "conv2d-backward-data stride=1,1 padding=1,1 | dy=temp+0:f32[2,2,2,16] "
    "w=param+0:f32[16,3,3,8] -> dx=temp+8192:f32[2,2,2,8]",
    "conv2d-backward-weight stride=2,2 padding=3,3 | x=temp+0:f32[1,16,16,3] "
    "dy=temp+8192:f32[1,8,8,16] -> dw=grad+0:f32[16,7,7,3]",
    "batch-norm-statistics | x=temp+0:f32[2,4,4,16] -> statistics=temp+4096:f32[1,33]",
    "batch-norm-finalize epsilon=0.00001 decay=0.9 gain=0.1 | statistics=temp+0:f32[2,33] "
    "running-mean=state+0:f32[16] running-variance=state+64:f32[16] -> mean=temp+512:f32[16] "
    "inverse-std=temp+576:f32[16] running-mean=state+0:f32[16] running-variance=state+64:f32[16]",
    "batch-norm-apply relu=1 | x=temp+0:bf16[2,4,4,16] mean=temp+2048:f32[16] "
    "inverse-std=temp+2112:f32[16] gamma=param+0:f32[16] beta=param+64:f32[16] "
    "residual=temp+4096:bf16[2,4,4,16] -> y=temp+8192:bf16[2,4,4,16]",
    "batch-norm-reduce relu=1 | dy=temp+0:f32[2,4,4,16] dy2=temp+4096:f32[2,4,4,16] "
    "x=temp+8192:f32[2,4,4,16] mean=temp+12288:f32[16] inverse-std=temp+12352:f32[16] "
    "gamma=param+0:f32[16] beta=param+64:f32[16] -> sums=temp+12416:f32[32] dgamma=grad+0:f32[16] "
    "dbeta=grad+64:f32[16] dz=temp+0:f32[2,4,4,16]",
    "batch-norm-backward relu=0 count=32 | dz=temp+0:f32[2,4,4,16] x=temp+4096:f32[2,4,4,16] "
    "mean=temp+8192:f32[16] inverse-std=temp+8256:f32[16] gamma=param+0:f32[16] "
    "sums=temp+8320:f32[32] -> dx=temp+0:f32[2,4,4,16]",
    "batch-norm-inference relu=1 epsilon=0.00001 | x=temp+0:f32[2,4,4,16] "
    "running-mean=state+0:f32[16] running-variance=state+64:f32[16] gamma=param+0:f32[16] "
    "beta=param+64:f32[16] -> y=temp+0:f32[2,4,4,16]",
    "max-pool window=3,3 stride=2,2 padding=1,1 | x=temp+0:f32[1,8,8,16] -> "
    "y=temp+4096:f32[1,4,4,16] index=temp+8192:u8[1,4,4,16]",
    "max-pool-backward window=3,3 stride=2,2 padding=1,1 | dy=temp+0:f32[1,4,4,16] "
    "index=temp+4096:u8[1,4,4,16] -> dx=temp+8192:f32[1,8,8,16]",
    "global-average-pool | x=temp+0:f32[2,2,2,16] -> y=temp+1024:f32[2,16]",
    "global-average-pool-backward | dy=temp+0:bf16[2,16] -> dx=temp+1024:bf16[2,2,2,16]",
    "normalize-input mean=0.5,0.5,0.5 std=0.2,0.2,0.2 | x=input+0:u8[2,8,8,3] "
    "flip=input+384:u8[2] -> y=temp+0:f32[2,8,8,4]",
    "add relu=1 | a=temp+0:f32[2,4,4,16] b=temp+4096:f32[2,4,4,16] -> y=temp+0:f32[2,4,4,16]",
    "relu | x=temp+0:bf16[2,4,4,16] -> y=temp+4096:bf16[2,4,4,16]",
    "relu-backward | dy=temp+0:f32[2,4,4,16] y=temp+4096:f32[2,4,4,16] -> "
    "dx=temp+8192:f32[2,4,4,16]",
    "copy | x=param+0:f32[100] -> y=weight+0:bf16[100]",
    "scale factor=0.5 | x=grad+0:f32[100] -> y=grad+0:f32[100]",
    "linear | x=temp+0:f32[2,64] w=param+0:f32[10,64] b=param+2560:f32[10] -> "
    "y=temp+1024:f32[2,10]",
    "linear-backward-data | dy=temp+0:bf16[2,10] w=weight+0:bf16[10,64] -> "
    "dx=temp+1024:bf16[2,64]",
    "linear-backward-weight | x=temp+0:f32[2,64] dy=temp+1024:f32[2,10] -> dw=grad+0:f32[10,64] "
    "db=grad+2560:f32[10]",
    "softmax-cross-entropy smoothing=0 scale=1 | logits=temp+0:f32[2,10] labels=input+0:i32[2] -> "
    "metrics=output+0:f32[4] probabilities=temp+128:f32[2,10]",
    "softmax-cross-entropy-backward smoothing=0.1 scale=0.5 | probabilities=temp+0:f32[2,10] "
    "labels=input+0:i32[2] -> dlogits=temp+128:f32[2,10]",
    "sgd form=velocity nesterov=1 momentum=0.9 segments=64:0.0001,32:0 zero=0 | w=param+0:f32[96] "
    "g=grad+0:f32[96] v=state+0:f32[96] schedule=input+0:f32[2] -> w=param+0:f32[96] "
    "v=state+0:f32[96] copy=weight+0:bf16[96] finite=output+0:f32[1]",
};
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

// An operand, an attribute or the op with something else in one place.
std::string mutated(const std::string& token) {
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
  return split(any(kLines), ' ')[0];
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
  device.run([&] { kernel = factory->second(instruction, context); });
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
      if (!whole) return;
      std::fprintf(stderr, "refused: %s\n  %s\n", line.c_str(), error.what());
      ++failures;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", error.what(), line.c_str());
      ++failures;
    }
  };
  for (const std::string& line : kLines) check(line, true);
  for (int round = 0; round < kRounds; ++round) {
    generator.seed(static_cast<uint64_t>(round));
    std::string line = any(kLines);
    if (below(2) == 0) line = resized(line);
    for (size_t changes = below(3); changes > 0; --changes) {
      auto tokens = split(line, ' ');
      const size_t place = below(tokens.size());
      if (below(12) == 0 && tokens.size() > 1) {
        tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(place));
      } else {
        tokens[place] = mutated(tokens[place]);
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
