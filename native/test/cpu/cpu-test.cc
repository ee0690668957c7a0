// Every kernel of the CPU backend against a naive loop in double precision, over odd sizes, both
// compute types and all instruction sets, with sentinels behind every tensor.
#include <cstdio>
#include <map>
#include <string>

#include "../../cpu/runtime/simd.h"
#include "ops/harness.h"
#include "ops/tests.h"

namespace onehour::cpu::test {
namespace {

const std::map<std::string, void (*)()> tests{
    {"batch-norm", normalizations},
    {"batch-norm-finalize", mergedStatistics},
    {"conv2d", convolutions},
    {"elementwise", elementwise},
    {"linear", linear},
    {"normalize-input", normalizedInput},
    {"pool", poolings},
    {"sgd", optimizer},
    {"softmax", crossEntropy},
    {"streams", streams},
    {"winograd", winogradConvolutions},
};

}  // namespace
}  // namespace onehour::cpu::test

// Arguments: names of tests, none for all.
int main(int count, char** arguments) {
  using namespace onehour::cpu;
  using namespace onehour::cpu::test;
  const InstructionSet best = instructionSet();
  for (int threads : {1, 3}) {
    for (InstructionSet set :
         {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512}) {
      if (set > best) continue;
      instructionSet() = set;
      Device opened(threads);
      device = &opened;
      for (const auto& [name, test] : tests) {
        bool chosen = count < 2;
        for (int i = 1; i < count; ++i) chosen = chosen || name == arguments[i];
        // oneDNN chooses its instructions itself.
        const bool ours = name != "conv2d" && name != "pool" && name != "linear";
        if (!chosen || (set != best && !ours)) continue;
        current = name + " (" + std::to_string(threads) + " threads, instruction set " +
                  std::to_string(static_cast<int>(set)) + ")";
        reseed();
        try {
          test();
        } catch (const std::exception& error) {
          fail(std::string("unexpected: ") + error.what());
        }
      }
    }
  }
  std::printf(failures == 0 ? "ok\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
