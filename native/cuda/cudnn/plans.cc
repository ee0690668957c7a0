// Plans from cuDNN's heuristics and from their JSON form.
#include "plans.h"

#include <algorithm>
#include <utility>

namespace onehour::cuda {
namespace {

// Engine configurations in the order of the heuristics' recommendation.
std::vector<Descriptor> configurations(const Target& target, const OperationGraph& graph,
                                       cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  target.bind(heuristics, {}, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
  if (!heuristics.tryFinalize()) return {};
  return heuristics.descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
}

// What an engine says about itself.
struct Engine {
  int64_t index = -1;
  std::vector<cudnnBackendNumericalNote_t> numerics;
  std::vector<cudnnBackendBehaviorNote_t> behaviors;

  explicit Engine(const Descriptor& configuration) {
    const std::vector<Descriptor> engines =
        configuration.descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    if (engines.empty()) return;
    index = engines[0].integer(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
    numerics = engines[0].get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                           CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
    behaviors = engines[0].get<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                                                           CUDNN_BEHAVIOR_NOTE_TYPE_COUNT);
  }

  bool has(cudnnBackendNumericalNote_t note) const {
    return std::find(numerics.begin(), numerics.end(), note) != numerics.end();
  }
  bool has(cudnnBackendBehaviorNote_t note) const {
    return std::find(behaviors.begin(), behaviors.end(), note) != behaviors.end();
  }

  // Sums in less than fp32 are never wanted. Transforms (FFT, Winograd) round sums of inputs, which
  // costs the fp32 arithmetic some of its digits and 16-bit inputs many.
  bool computesWith(Arithmetic arithmetic) const {
    for (const auto note :
         {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, CUDNN_NUMERICAL_NOTE_FFT,
          CUDNN_NUMERICAL_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4,
          CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13}) {
      if (has(note)) return false;
    }
    return arithmetic != Arithmetic::fp32 || (!has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) &&
                                              !has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
  }
};

EngineTraits traitsOf(const Engine& engine) {
  EngineTraits traits;
  traits.repeats = !engine.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
  traits.compiled = engine.has(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
  traits.words = "engine " + std::to_string(engine.index);
  if (engine.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) traits.words += ", tensor cores";
  if (!traits.repeats) traits.words += ", not deterministic";
  if (traits.compiled) traits.words += ", compiled at run time";
  return traits;
}

struct Proposal {
  Descriptor configuration;
  EngineTraits engine;
};

// In the order of recommendation; those whose bits repeat first.
std::vector<Proposal> proposals(const Target& target, const OperationGraph& graph) {
  std::vector<Proposal> result;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor& configuration : configurations(target, graph, mode)) {
      const Engine engine(configuration);
      if (!engine.computesWith(graph.arithmetic)) continue;
      result.push_back({std::move(configuration), traitsOf(engine)});
    }
  }
  std::stable_partition(result.begin(), result.end(),
                        [](const Proposal& proposal) { return proposal.engine.repeats; });
  return result;
}

}  // namespace

Plan::Plan(Descriptor descriptor, EngineTraits engine, std::optional<Descriptor> configuration)
    : configuration_(std::move(configuration)),
      descriptor_(std::move(descriptor)),
      workspaceBytes_(
          static_cast<size_t>(descriptor_.integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))),
      engine_(std::move(engine)) {}

std::string proposePlans(const Target& target, const OperationGraph& graph, const Limits& limits,
                         const std::function<bool(Plan)>& isOfUse) {
  std::string last = "no engine computes it";
  size_t tried = 0;
  // Of use: all, those that are compiled, and those that are only compared with them.
  size_t plans = 0, compiled = 0, compared = 0;
  bool repeats = false;  // the bits of one of them
  const double start = limits.clock();
  for (Proposal& proposal : proposals(target, graph)) {
    const EngineTraits engine = proposal.engine;
    const bool compares = repeats && !engine.repeats;
    if (compares ? compared == limits.plans || engine.compiled : plans == limits.plans) continue;
    if (engine.compiled && compiled == limits.compiled) continue;
    const bool hasAny = plans > 0;
    const double taken = limits.clock() - start;
    if (hasAny && taken > limits.seconds) break;
    if (!hasAny && tried > 0 && taken > limits.patience) {
      return "gave up after " + std::to_string(static_cast<int>(taken)) + " s, in which none of " +
             std::to_string(tried) + " engines was of use (the last is " + last +
             "); ONEHOUR_PLAN_COMPILATION=0 leaves out those that take long";
    }
    ++tried;
    Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    target.bind(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, proposal.configuration);
    if (!plan.tryFinalize()) {
      last = engine.words + ": " + lastCudnnMessage();
      continue;
    }
    Plan made(std::move(plan), engine, std::move(proposal.configuration));
    if (made.workspaceBytes() > limits.workspaceBytes) {
      last =
          engine.words + " wants " + std::to_string(made.workspaceBytes()) + " bytes of workspace";
      continue;
    }
    last = engine.words + ": its plan does not run";
    if (!isOfUse(std::move(made))) continue;
    ++(compares ? compared : plans);
    compiled += engine.compiled;
    repeats |= engine.repeats;
  }
  return last;
}

std::optional<Plan> parsePlan(const Target& target, const std::string& json, EngineTraits engine) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  target.bind(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
  const cudnnStatus_t taken = cudnnBackendSetAttribute(
      plan.handle(), CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
      static_cast<int64_t>(json.size() + 1), json.c_str());
  if (taken != CUDNN_STATUS_SUCCESS || !plan.tryFinalize()) return {};
  return Plan(std::move(plan), std::move(engine));
}

}  // namespace onehour::cuda
