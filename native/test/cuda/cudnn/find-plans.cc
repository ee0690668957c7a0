// Finds cuDNN's plans for the convolutions of programs, on a GPU that is only described:
//   find_plans DEVICE.json THREADS PROGRAM...
// One line a graph: seconds, engine, workspace, and the graph; status 1 where one has no plan or a
// plan does not come back from its JSON form.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

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

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Job {
  Pattern pattern;
  ConvProblem problem;
};

bool findPlan(const Target& target, const Job& job) {
  const auto start = std::chrono::steady_clock::now();
  const auto& [pattern, problem] = job;
  const OperationGraph graph = describe(target, pattern, problem.arithmetic, problem.convolution);
  Limits limits;
  limits.plans = 1;
  std::optional<Plan> first;
  const std::string reason = proposePlans(target, graph, limits, [&](Plan plan) {
    first = std::move(plan);
    return true;
  });
  const double made = secondsSince(start);
  const std::optional<Plan> again = first ? parsePlan(target, first->json()) : std::nullopt;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (!first) {
    std::printf("FAILED %s: %s\n", graph.name.c_str(), reason.c_str());
    return false;
  }
  const bool same = again && again->workspaceBytes() == first->workspaceBytes();
  std::printf("%s %.2f s, %s, workspace %zu: %s\n", same ? "ok" : "FAILED to parse", made,
              first->engine().words.c_str(), first->workspaceBytes(), graph.name.c_str());
  std::fflush(stdout);
  return same;
}

int findPlans(const std::string& device, int threads, std::span<char*> paths) {
  std::set<std::string> names;
  std::vector<Job> jobs;
  for (const char* path : paths) {
    for (const Instruction& instruction : parseProgram(contents(path)).instructions) {
      if (!instruction.op.starts_with("conv2d")) continue;
      const ConvProblem problem(instruction);
      for (const Pattern pattern : problem.patterns) {
        if (names.insert(nameOf(pattern, problem.arithmetic, problem.convolution)).second) {
          jobs.push_back({pattern, problem});
        }
      }
    }
  }
  const auto start = std::chrono::steady_clock::now();
  std::atomic<size_t> next = 0;
  std::atomic<int> failures = 0;
  const auto work = [&] {
    const Target target(device);
    for (size_t i = next++; i < jobs.size(); i = next++) failures += !findPlan(target, jobs[i]);
  };
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  }
  std::printf("%.1f s with %d threads\n", secondsSince(start), threads);
  std::printf("%zu graphs, %d without a plan\n", jobs.size(), failures.load());
  return jobs.empty() || failures > 0 ? 1 : 0;
}

}  // namespace
}  // namespace onehour::cuda

int main(int count, char** arguments) {
  try {
    const std::span<char*> words(arguments, static_cast<size_t>(count));
    const int threads = count < 4 ? 0 : std::atoi(words[2]);
    if (threads < 1) throw std::runtime_error("expected DEVICE.json THREADS PROGRAM...");
    return onehour::cuda::findPlans(onehour::cuda::contents(words[1]), threads, words.subspan(3));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "find_plans: %s\n", error.what());
    return 2;
  }
}
