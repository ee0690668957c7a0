// Times the kernels of a graph and keeps the winner, in memory and in files.
#include "tuning.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "../../core/progress.h"
#include "plan-cache.h"
#include "search-record.h"

namespace onehour::cuda {
namespace {

constexpr int timedRuns = 5;         // their median counts
constexpr float hopeless = 3;        // times the best time: not run again
constexpr double longestWait = 120;  // seconds for another process to choose
constexpr int64_t skipHolds = 120;   // seconds for which the other processes of a load skip too

// A number from the environment.
size_t numberFrom(const char* variable, size_t least, size_t fallback) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return fallback;
  char* end = nullptr;
  const unsigned long value = std::strtoul(text, &end, 10);
  if (end == text || *end != '\0' || value < least || value > 1000) {
    throw Error("ERR_DEVICE", "onehour",
                std::string(variable) + " is " + text + ", expected a number from " +
                    std::to_string(least) + " to 1000");
  }
  return value;
}

// ONEHOUR_PLAN_CANDIDATES: how many plans of a graph are tried. ONEHOUR_PLAN_COMPILATION=0: none
// that cuDNN compiles first, which takes seconds for each.
Limits limitsFromEnvironment() {
  Limits limits;
  limits.plans = numberFrom("ONEHOUR_PLAN_CANDIDATES", 1, limits.plans);
  limits.compilation = numberFrom("ONEHOUR_PLAN_COMPILATION", 0, 1) != 0;
  return limits;
}

// What a shorter search finds is kept apart from what the full one does.
std::string nameOf(const Target& target, const OperationGraph& graph, const Limits& limits) {
  std::string name = graph.name + " on " + target.name();
  if (limits.plans != Limits().plans) name += ", candidates " + std::to_string(limits.plans);
  if (!limits.compilation) name += ", nothing compiled";
  return name;
}

// Runs kernels while programs are prepared, on a stream and with scratch memory of its own.
class Trial {
 public:
  // Memory that was allocated just now is still being cleared, on the default stream.
  explicit Trial(Target& target) : target_(target), stream_(0) {
    ONEHOUR_CUDA(cudaStreamSynchronize(cudaStreamLegacy));
  }
  ~Trial() { target_.leaveStream(); }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  void run(Kernel& kernel) {
    enqueue(kernel);
    ONEHOUR_CUDA(cudaStreamSynchronize(stream_.handle()));
  }

  cudaStream_t stream() const { return stream_.handle(); }

  // Milliseconds of a run: the median of some, or of the first one if that is far above `best`.
  float time(Kernel& kernel, float best) {
    run(kernel);
    std::array<float, timedRuns> times;
    for (float& milliseconds : times) {
      ONEHOUR_CUDA(cudaEventRecord(begin_.get(), stream_.handle()));
      enqueue(kernel);
      ONEHOUR_CUDA(cudaEventRecord(end_.get(), stream_.handle()));
      ONEHOUR_CUDA(cudaEventSynchronize(end_.get()));
      ONEHOUR_CUDA(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()));
      if (times[0] > hopeless * best) return times[0];
    }
    std::nth_element(times.begin(), times.begin() + timedRuns / 2, times.end());
    return times[timedRuns / 2];
  }

 private:
  void enqueue(Kernel& kernel) {
    if (kernel.workspaceBytes() > scratchBytes_) {
      scratchBytes_ = 0;
      ONEHOUR_CUDA(cudaMalloc(scratch_.out(), kernel.workspaceBytes()));
      scratchBytes_ = kernel.workspaceBytes();
      stream_.bindWorkspace(scratch_.get());
    }
    kernel.run(stream_);
  }

  static EventHandle timingEvent() {
    EventHandle event;
    ONEHOUR_CUDA(cudaEventCreate(event.out()));
    return event;
  }

  Target& target_;
  Owned<void*, cudaFree> scratch_;
  size_t scratchBytes_ = 0;
  CudaStream stream_;
  EventHandle begin_ = timingEvent();
  EventHandle end_ = timingEvent();
};

// Fills the operands of an instruction with random numbers for as long as it lives, and with zeros
// when it goes.
class RandomOperands {
 public:
  RandomOperands(const Instruction& instruction, cudaStream_t stream) : stream_(stream) {
    for (const auto* side : {&instruction.inputs, &instruction.outputs}) {
      for (const Operand& operand : *side) operands_.push_back(operand);
    }
    static const std::vector<uint16_t> numbers = randomNumbers();
    for (const Operand& operand : operands_) {
      auto* const data = static_cast<std::byte*>(operand.data);
      size_t filled = std::min(operand.bytes(), numbers.size() * sizeof(uint16_t));
      ONEHOUR_CUDA(cudaMemcpyAsync(data, numbers.data(), filled, cudaMemcpyDefault, stream));
      while (filled < operand.bytes()) {
        const size_t more = std::min(filled, operand.bytes() - filled);
        ONEHOUR_CUDA(cudaMemcpyAsync(data + filled, data, more, cudaMemcpyDefault, stream));
        filled += more;
      }
    }
    ONEHOUR_CUDA(cudaStreamSynchronize(stream));
  }
  ~RandomOperands() {  // what fails here fails in the next call too
    for (const Operand& operand : operands_) {
      static_cast<void>(cudaMemsetAsync(operand.data, 0, operand.bytes(), stream_));
    }
    static_cast<void>(cudaStreamSynchronize(stream_));
  }
  RandomOperands(const RandomOperands&) = delete;
  RandomOperands& operator=(const RandomOperands&) = delete;

 private:
  // Of either sign, between ½ and 2, as bf16 and, two of them, as f32: 1 MiB.
  static std::vector<uint16_t> randomNumbers() {
    std::minstd_rand random;
    std::vector<uint16_t> numbers(size_t{1} << 19);
    for (uint16_t& number : numbers) {
      number = static_cast<uint16_t>(0x3f00 | (random() >> 8 & 0x80ff));
    }
    return numbers;
  }

  std::vector<Operand> operands_;
  cudaStream_t stream_;
};

// What this process has chosen, by the name of graph and device.
class Choices {
 public:
  std::optional<Choice> find(const std::string& name) {
    const std::lock_guard lock(mutex_);
    const auto found = choices_.find(name);
    return found == choices_.end() ? std::nullopt : std::optional(found->second);
  }
  void keep(const std::string& name, const Choice& choice) {
    const std::lock_guard lock(mutex_);
    choices_.emplace(name, choice);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Choice> choices_;
};

// JSON's word for a choice without a plan.
constexpr const char* noPlan = "null";

int64_t secondsSince1970() {
  using namespace std::chrono;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

// A skipped search is stored as its time: the other processes of the same load skip it too, so that
// all run the same plans, and a later load tries again.
std::string skip() { return std::to_string(secondsSince1970()); }
std::optional<int64_t> skippedAt(const std::string& json) {
  int64_t time = 0;
  const char* const end = json.data() + json.size();
  return std::from_chars(json.data(), end, time).ptr == end ? std::optional(time) : std::nullopt;
}

bool wasSkippedJustNow(const PlanFile& file) {
  const std::optional<std::string> json = file.read();
  const std::optional<int64_t> time = json ? skippedAt(*json) : std::nullopt;
  return time && std::abs(secondsSince1970() - *time) <= skipHolds;
}

// What an earlier process chose, as far as it still holds here.
std::optional<Choice> storedChoice(const Target& target, const PlanFile& file, bool hasAlternative,
                                   const Limits& limits) {
  const std::optional<std::string> json = file.read();
  if (!json) return {};
  if (*json == noPlan) return hasAlternative ? std::optional(Choice()) : std::nullopt;
  if (skippedAt(*json)) return {};
  std::optional<Plan> plan = parsePlan(target, *json);
  if (!plan || plan->workspaceBytes() > limits.workspaceBytes) return {};
  return std::make_shared<const Plan>(std::move(*plan));
}

// A trial that failed leaves the device as it was, or everything ends.
void forgive(const Error& error) {
  if (isSticky(cudaGetLastError())) throw error;
}

struct Contender {
  std::unique_ptr<Kernel> kernel;
  Choice choice;
  SearchRecord record;  // of the search that found it
};

// Tries plans until enough of them ran, then the alternative; throws when nothing runs.
Contender fastest(Target& target, const OperationGraph& graph, const KernelFromPlan& make,
                  const Instruction& instruction, SearchBudget* budget, const Limits& limits,
                  Trial& trial) {
  std::optional<Error> failure;
  Contender winner;
  float best = std::numeric_limits<float>::infinity();
  const auto runs = [&](const Choice& choice) {
    progress::advance();
    const std::string engine = choice ? choice->engine() : "own kernels and a plain plan";
    const bool fused = choice && budget != nullptr;
    try {
      std::unique_ptr<Kernel> kernel = make(choice);
      const RandomOperands numbers(instruction, trial.stream());
      const float time = trial.time(*kernel, best);
      winner.record.add(engine, fused, time);
      if (time >= best) return true;
      best = time;
      winner.kernel = std::move(kernel);
      winner.choice = choice;
      return true;
    } catch (const Error& error) {
      forgive(error);
      winner.record.add(engine, fused, std::nullopt);
      failure = error;
      return false;
    }
  };
  const double start = limits.clock();
  const std::string reason = proposePlans(target, graph, limits, [&](Plan plan) {
    return runs(std::make_shared<const Plan>(std::move(plan)));
  });
  if (budget != nullptr) {
    budget->note(graph.family, limits.clock() - start, winner.kernel != nullptr);
    runs(nullptr);
  }
  if (winner.kernel) return winner;
  const std::string none = "there is no plan for " + graph.name + " on " + target.name() + ": " +
                           reason + "; try another --precision or a smaller --batch";
  if (failure) {
    throw Error(failure->code, failure->library, std::string(failure->what()) + "\n  " + none);
  }
  throw Error("ERR_KERNEL", "cuDNN", none);
}

}  // namespace

std::unique_ptr<Kernel> chooseKernel(Target& target, const OperationGraph& graph,
                                     const Instruction& instruction, const KernelFromPlan& make,
                                     SearchBudget* budget) {
  static Choices& choices = *new Choices;  // never destroyed, as the target is not
  Limits limits = limitsFromEnvironment();
  const std::string name = nameOf(target, graph, limits);
  if (const auto known = choices.find(name)) return make(*known);

  Trial trial(target);
  PlanFile file(planFolder(), name);
  const auto unsearched = [&] {
    std::unique_ptr<Kernel> kernel = make(nullptr);
    trial.run(*kernel);
    return kernel;
  };
  const auto stored = [&]() -> std::unique_ptr<Kernel> {
    const auto choice = storedChoice(target, file, budget != nullptr, limits);
    if (!choice) return nullptr;
    try {
      std::unique_ptr<Kernel> kernel = make(*choice);
      trial.run(*kernel);
      choices.keep(name, *choice);
      return kernel;
    } catch (const Error& error) {
      forgive(error);
      return nullptr;
    }
  };
  if (auto kernel = stored()) return kernel;
  if (budget != nullptr && wasSkippedJustNow(file)) return unsearched();
  {
    const progress::WaitingScope waiting;
    file.lock(longestWait);
  }
  if (auto kernel = stored()) return kernel;
  if (budget != nullptr && wasSkippedJustNow(file)) return unsearched();

  if (budget != nullptr) {
    const double allowance = budget->allowance(graph.family);
    if (allowance == 0) {
      file.write(skip());
      return unsearched();
    }
    limits.clock = budget->clock();
    limits.seconds = std::min(limits.seconds, allowance);
    limits.patience = std::min(limits.patience, allowance);
  }
  Contender winner = fastest(target, graph, make, instruction, budget, limits, trial);
  choices.keep(name, winner.choice);
  file.write(winner.choice ? winner.choice->json() : noPlan);
  file.writeTrials(winner.record.json());
  return std::move(winner.kernel);
}

}  // namespace onehour::cuda
