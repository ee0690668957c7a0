// Tests mutated lines of all ops: whatever the parser and a kernel's factory accept must run inside
// its operands and its workspace, and whatever they refuse must be an Error.
#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "../../core/error.h"
#include "../../cpu/runtime/backend.h"
#include "lines.h"

namespace onehour::test {
namespace {

constexpr int kRounds = 4000;

const std::vector<std::string> kNumbers{"0",  "1",  "2",  "3",   "4",       "5",
                                        "7",  "8",  "16", "17",  "32",      "33",
                                        "64", "-1", "99", "0.5", "1048576", "9223372036854775807"};
const std::vector<std::string> kTypes{"f32", "bf16", "f16", "u8", "i32"};

const std::string& any(const std::vector<std::string>& words) { return words[below(words.size())]; }

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

int fuzz() {
  LineRunner runner(cpu::createCpuBackend(2));
  const std::vector<std::string> lines = linesOf(runner.kernels());
  int failures = 0;
  int ran = 0;
  int refused = 0;
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
    try {
      if (runner.run(line)) ++ran;
    } catch (const Error&) {
      ++refused;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", error.what(), line.c_str());
      ++failures;
    }
  }
  std::printf("fuzz: %d lines ran, %d were refused, %d failures\n", ran, refused, failures);
  return failures == 0 && ran > kRounds / 10 && refused > kRounds / 10 ? 0 : 1;
}

}  // namespace
}  // namespace onehour::test

int main() { return onehour::test::fuzz(); }
