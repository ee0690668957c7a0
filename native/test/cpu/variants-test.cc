// Tests that every kernel computes the same with any number of threads and any instruction set,
// whatever its workspace holds. That it computes the right values, test/ops checks against PyTorch.
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "../../core/error.h"
#include "../../cpu/runtime/backend.h"
#include "../../cpu/runtime/simd.h"
#include "lines.h"

namespace onehour::test {
namespace {

using cpu::InstructionSet;

bool alike(const Results& got, const Results& expected, double tolerance) {
  for (size_t output = 0; output < expected.size(); ++output) {
    double squares = 0;
    for (const double number : expected[output])
      squares += std::isfinite(number) ? number * number : 0;
    const double typical = std::sqrt(squares / static_cast<double>(expected[output].size()));
    for (size_t i = 0; i < expected[output].size(); ++i) {
      const double a = got[output][i], b = expected[output][i];
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      if (!(std::abs(a - b) <= tolerance * (std::abs(b) + typical))) return false;
    }
  }
  return true;
}

int compare() {
  int failures = 0;
  int compared = 0;
  const InstructionSet best = cpu::instructionSet();
  LineRunner single(cpu::createCpuBackend(1));
  LineRunner several(cpu::createCpuBackend(3));
  const std::vector<std::string> lines = linesOf(single.kernels());
  for (const std::string& line : lines) {
    // Sums in another order, rounded once more in bf16 and f16.
    const double tolerance = line.find("bf16[") != std::string::npos  ? 1.0 / 128
                             : line.find("f16[") != std::string::npos ? 1.0 / 1024
                                                                      : 1e-5;
    std::optional<Results> expected;
    for (const InstructionSet set : {best, InstructionSet::avx2, InstructionSet::baseline}) {
      if (set > best) continue;
      cpu::instructionSet() = set;
      for (LineRunner* runner : {&single, &several}) {
        generator.seed(7);  // the same operands
        try {
          const std::optional<Results> results = runner->run(line);
          if (!expected) expected = results;
          if (results && alike(*results, *expected, tolerance)) continue;
        } catch (const Error& error) {
          if (error.code == "ERR_COLLECTIVE") continue;  // there is nobody to talk with
          std::fprintf(stderr, "%s\n", error.what());
        } catch (const std::exception& error) {
          std::fprintf(stderr, "%s\n", error.what());
        }
        ++failures;
        std::fprintf(stderr, "%d threads, instruction set %d: %s\n", runner->threads(),
                     static_cast<int>(set), line.c_str());
      }
    }
    compared += expected.has_value();
  }
  std::printf("%d of %zu lines compared, %d failures\n", compared, lines.size(), failures);
  return failures == 0 && compared > 0 ? 0 : 1;
}

}  // namespace
}  // namespace onehour::test

int main() { return onehour::test::compare(); }
