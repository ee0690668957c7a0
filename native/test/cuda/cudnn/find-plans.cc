// Finds cuDNN's plans for the convolutions of programs, on a GPU that is only described:
//   find_plans DEVICE.json PROGRAM...
// One line a graph: seconds, engine, workspace, and the graph; status 1 where one has no plan or a
// plan does not come back from its JSON form.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "../../../core/program.h"
#include "../../../cuda/cudnn/conv-problem.h"
#include "../../../cuda/cudnn/plans.h"

namespace onehour::cuda {
namespace {

std::string contents(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot read ") + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool findPlan(const Target& target, Pattern pattern, const ConvProblem& problem) {
  const auto start = std::chrono::steady_clock::now();
  const OperationGraph graph = describe(target, pattern, problem.arithmetic, problem.convolution);
  Limits limits;
  limits.plans = 1;
  std::optional<Plan> first;
  const std::string reason = proposePlans(target, graph, limits, [&](Plan plan) {
    first = std::move(plan);
    return true;
  });
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  if (!first) {
    std::printf("FAILED %s: %s\n", graph.name.c_str(), reason.c_str());
    return false;
  }
  const std::optional<Plan> again = parsePlan(target, first->json());
  const bool same = again && again->workspaceBytes() == first->workspaceBytes();
  std::printf("%s %.2f s, %s, workspace %zu: %s\n", same ? "ok" : "FAILED to parse", taken.count(),
              first->engine().c_str(), first->workspaceBytes(), graph.name.c_str());
  std::fflush(stdout);
  return same;
}

int findPlans(int count, char** paths) {
  const Target target(contents(paths[0]));
  std::set<std::string> names;
  int failures = 0;
  for (int i = 1; i < count; ++i) {
    for (const Instruction& instruction : parseProgram(contents(paths[i])).instructions) {
      if (!instruction.op.starts_with("conv2d")) continue;
      const ConvProblem problem(instruction);
      for (const Pattern pattern : problem.patterns) {
        if (!names.insert(nameOf(pattern, problem.arithmetic, problem.convolution)).second)
          continue;
        if (!findPlan(target, pattern, problem)) ++failures;
      }
    }
  }
  std::printf("%zu graphs, %d without a plan\n", names.size(), failures);
  return names.empty() || failures > 0 ? 1 : 0;
}

}  // namespace
}  // namespace onehour::cuda

int main(int count, char** arguments) {
  try {
    if (count < 3) throw std::runtime_error("expected DEVICE.json PROGRAM...");
    return onehour::cuda::findPlans(count - 1, arguments + 1);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "find_plans: %s\n", error.what());
    return 2;
  }
}
