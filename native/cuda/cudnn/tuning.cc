// Times the kernels of a graph and keeps the winner, in memory and in files.
#include "tuning.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "../../core/progress.h"
#include "plan-cache.h"
#include "search-record.h"
#include "trial.h"

namespace onehour::cuda {
namespace {

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
  const bool compiles = numberFrom("ONEHOUR_PLAN_COMPILATION", 0, 1) != 0;
  limits.compiled = compiles ? std::min(limits.plans, limits.compiled) : 0;
  return limits;
}

// What a shorter search finds is kept apart from what the full one does.
std::string nameOf(const Target& target, const std::string& graph, const Limits& limits) {
  std::string name = graph + " on " + target.name();
  if (limits.plans != Limits().plans) name += ", candidates " + std::to_string(limits.plans);
  if (limits.compiled == 0) name += ", nothing compiled";
  return name;
}

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

// Whether a process has chosen, or skips the search now.
bool isDecided(const PlanFile& file) {
  const std::optional<std::string> json = file.read();
  return json && (!skippedAt(*json) || wasSkippedJustNow(file));
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

struct Contender {
  std::unique_ptr<Kernel> kernel;
  Choice choice;
  SearchRecord record;  // of the search that found it
};

// Tries kernels and keeps the fastest.
class Contest {
 public:
  Contest(const KernelFromPlan& make, const Instruction& instruction, Trial& trial)
      : make_(make), instruction_(instruction), trial_(trial) {}

  // Whether the kernel of a plan, or the alternative to all, runs; made here where it is not given.
  // Where its bits don't repeat and another's do, it is only compared.
  bool runs(const Choice& choice, bool fused, std::unique_ptr<Kernel> kernel = nullptr) {
    progress::advance();
    const EngineTraits engine =
        choice ? choice->engine() : EngineTraits{"own kernels and a plain plan", true, false};
    std::optional<float> time;
    try {
      if (!kernel) kernel = make_(choice);
      const RandomOperands numbers(instruction_, trial_.stream());
      time = trial_.time(*kernel, best_);
      if (*time < best_ && (engine.repeats || !repeats_)) {
        best_ = *time;
        repeats_ = engine.repeats;
        winner.kernel = std::move(kernel);
        winner.choice = choice;
      }
    } catch (const Error& error) {
      forgive(error);
      failure = error;
    }
    winner.record.add(engine.words, fused, engine.repeats, time);
    return time.has_value();
  }

  Contender winner;
  std::optional<Error> failure;

 private:
  const KernelFromPlan& make_;
  const Instruction& instruction_;
  Trial& trial_;
  float best_ = std::numeric_limits<float>::infinity();
  bool repeats_ = false;  // the bits of the winner
};

// Tries plans until enough of them ran: those that were made ahead, if any were, else, or where
// none of these runs and there is no alternative, as cuDNN proposes them. Returns why there are no
// more.
std::string tryPlans(Target& target, const OperationGraph& graph, const Limits& limits,
                     bool hasAlternative, const std::optional<MadePlans>& made, Contest& contest) {
  if (made) {
    contest.winner.record.addSeconds(made->seconds);
    for (const auto& [json, engine] : made->plans) {
      std::optional<Plan> plan = parsePlan(target, json, engine);
      if (plan) contest.runs(std::make_shared<const Plan>(std::move(*plan)), hasAlternative);
    }
    if (hasAlternative || contest.winner.kernel) return made->reason;
  }
  return proposePlans(target, graph, limits, [&](Plan plan) {
    return contest.runs(std::make_shared<const Plan>(std::move(plan)), hasAlternative);
  });
}

// Tries plans, then the alternative; throws when nothing runs.
Contender fastest(Target& target, const OperationGraph& graph, const KernelFromPlan& make,
                  const Instruction& instruction, SearchBudget* budget, const Limits& limits,
                  const std::optional<MadePlans>& made, std::unique_ptr<Kernel> alternative,
                  Trial& trial) {
  Contest contest(make, instruction, trial);
  std::string reason;
  {
    std::optional<SearchBudget::Search> search;
    if (budget != nullptr) search.emplace(*budget);
    reason = tryPlans(target, graph, limits, budget != nullptr, made, contest);
  }
  if (budget != nullptr) {
    if (!contest.winner.kernel) budget->noteFailure(graph.family, graph.name);
    contest.runs(nullptr, false, std::move(alternative));
  }
  if (contest.winner.kernel) return std::move(contest.winner);
  const std::string none = "there is no plan for " + graph.name + " on " + target.name() + ": " +
                           reason + "; try another --precision or a smaller --batch";
  if (const auto& failure = contest.failure) {
    throw Error(failure->code, failure->library, std::string(failure->what()) + "\n  " + none);
  }
  throw Error("ERR_KERNEL", "cuDNN", none);
}

// What this process has chosen; never destroyed, as the target is not.
Choices& choices() {
  static Choices& choices = *new Choices;
  return choices;
}

// The limits of a search that has an alternative; nothing where the budget allows none.
std::optional<Limits> within(const SearchBudget& budget, const std::string& family, Limits limits) {
  const double allowance = budget.allowance(family);
  if (allowance == 0) return {};
  limits.clock = budget.clock();
  limits.seconds = std::min(limits.seconds, allowance);
  limits.patience = std::min(limits.patience, allowance);
  return limits;
}

}  // namespace

Searches::Searches(int threads)
    : Searches(
          threads, [ordinal = currentDevice()] { return Target::another(ordinal); },
          steadySeconds) {}

Searches::Searches(int threads, PlansAhead::MakeTarget makeTarget, SearchBudget::Clock clock)
    : budget(std::move(clock)), ahead(threads, std::move(makeTarget)) {}

void planAhead(const Target& target, Pattern pattern, Arithmetic arithmetic,
               const Convolution& problem, Searches& searches, bool hasAlternative) {
  const Limits limits = limitsFromEnvironment();
  const std::string graphName = nameOf(pattern, arithmetic, problem);
  const std::string name = nameOf(target, graphName, limits);
  if (choices().find(name)) return;
  const auto make = [=, &budget = searches.budget](
                        const PlansAhead::OwnTarget& ownTarget) -> std::optional<MadePlans> {
    MadePlans made{{}, "", 0, PlanFile(planFolder(), name)};
    // Another process makes them, or has decided.
    if (!made.file.tryLock() || isDecided(made.file)) return {};
    const Target& own = ownTarget();
    std::optional<SearchBudget::Search> search;
    if (hasAlternative) search.emplace(budget);
    const OperationGraph graph = describe(own, pattern, arithmetic, problem);
    const std::optional<Limits> allowed =
        hasAlternative ? within(budget, graph.family, limits) : limits;
    if (!allowed) return {};
    const double start = budget.clock()();
    made.reason = proposePlans(own, graph, *allowed, [&](const Plan& plan) {
      made.plans.push_back({plan.json(), plan.engine()});
      progress::advance();
      return true;
    });
    made.seconds = budget.clock()() - start;
    if (hasAlternative && made.plans.empty()) budget.noteFailure(graph.family, graph.name);
    return made;
  };
  searches.ahead.begin(name, make);
}

std::unique_ptr<Kernel> chooseKernel(Target& target, const OperationGraph& graph,
                                     const Instruction& instruction, const KernelFromPlan& make,
                                     Searches& searches, bool hasAlternative) {
  const Limits limits = limitsFromEnvironment();
  const std::string name = nameOf(target, graph.name, limits);
  if (const auto known = choices().find(name)) return make(*known);

  std::optional<MadePlans> made = searches.ahead.take(name);
  SearchBudget* const budget = hasAlternative ? &searches.budget : nullptr;
  Trial trial(target);
  PlanFile file = made ? std::move(made->file) : PlanFile(planFolder(), name);
  const auto keep = [&](Contender winner) {
    choices().keep(name, winner.choice);
    file.write(winner.choice ? winner.choice->json() : noPlan);
    file.writeTrials(winner.record.json());
    return std::move(winner.kernel);
  };
  std::unique_ptr<Kernel> alternative;
  const auto unsearched = [&] {
    std::unique_ptr<Kernel> kernel = alternative ? std::move(alternative) : make(nullptr);
    trial.run(*kernel);
    return kernel;
  };
  const auto stored = [&]() -> std::unique_ptr<Kernel> {
    const auto choice = storedChoice(target, file, budget != nullptr, limits);
    if (!choice) return nullptr;
    try {
      std::unique_ptr<Kernel> kernel = make(*choice);
      trial.run(*kernel);
      choices().keep(name, *choice);
      return kernel;
    } catch (const Error& error) {
      forgive(error);
      return nullptr;
    }
  };
  if (!made) {
    if (auto kernel = stored()) return kernel;
    if (budget != nullptr && wasSkippedJustNow(file)) return unsearched();
  }
  // The alternative has plans of its own, for which this process may have to wait. It does so
  // before it waits for the graph's, as all processes do: none waits for one that waits for it.
  try {
    if (budget != nullptr) alternative = make(nullptr);
  } catch (const Error& error) {
    forgive(error);
  }
  const auto search = [&](const Limits& allowed) {
    return keep(fastest(target, graph, make, instruction, budget, allowed, made,
                        std::move(alternative), trial));
  };
  if (made) return search(limits);
  {
    const progress::WaitingScope waiting;
    file.lock(longestWait);
  }
  if (auto kernel = stored()) return kernel;
  if (budget == nullptr) return search(limits);
  if (wasSkippedJustNow(file)) return unsearched();
  const std::optional<Limits> allowed = within(*budget, graph.family, limits);
  if (!allowed) {
    file.write(skip());
    return unsearched();
  }
  return search(*allowed);
}

}  // namespace onehour::cuda
