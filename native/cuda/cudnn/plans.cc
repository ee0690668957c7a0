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

  bool isDeterministic() const { return !has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC); }

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

std::string describe(const Engine& engine) {
  std::string text = "engine " + std::to_string(engine.index);
  if (engine.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) text += ", tensor cores";
  if (!engine.isDeterministic()) text += ", not deterministic";
  if (engine.has(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)) text += ", compiled at run time";
  return text;
}

}  // namespace

Plan::Plan(Descriptor descriptor, std::optional<Descriptor> configuration)
    : configuration_(std::move(configuration)),
      descriptor_(std::move(descriptor)),
      workspaceBytes_(
          static_cast<size_t>(descriptor_.integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))) {
  if (configuration_) engine_ = describe(Engine(*configuration_));
}

std::string proposePlans(const Target& target, const OperationGraph& graph, const Limits& limits,
                         const std::function<bool(Plan)>& isOfUse) {
  std::vector<Descriptor> repeating;  // their bits
  std::vector<Descriptor> others;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor& configuration : configurations(target, graph, mode)) {
      const Engine engine(configuration);
      if (!engine.computesWith(graph.arithmetic)) continue;
      if (!limits.compilation && engine.has(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)) continue;
      (engine.isDeterministic() ? repeating : others).push_back(std::move(configuration));
    }
  }
  std::string last = "no engine computes it";
  size_t tried = 0;
  size_t ofUse = 0;
  const double start = limits.clock();
  for (std::vector<Descriptor>* proposals : {&repeating, &others}) {
    for (Descriptor& configuration : *proposals) {
      const double taken = limits.clock() - start;
      if (ofUse == limits.plans || (ofUse > 0 && taken > limits.seconds)) break;
      if (ofUse == 0 && tried > 0 && taken > limits.patience) {
        return "gave up after " + std::to_string(static_cast<int>(taken)) +
               " s, in which none of " + std::to_string(tried) +
               " engines was of use (the last is " + last +
               "); ONEHOUR_PLAN_COMPILATION=0 leaves out those that take long";
      }
      ++tried;
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      target.bind(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      if (!plan.tryFinalize()) {
        last = describe(Engine(configuration)) + ": " + lastCudnnMessage();
        continue;
      }
      Plan made(std::move(plan), std::move(configuration));
      if (made.workspaceBytes() > limits.workspaceBytes) {
        last = made.engine() + " wants " + std::to_string(made.workspaceBytes()) +
               " bytes of workspace";
        continue;
      }
      last = made.engine() + ": its plan does not run";
      if (isOfUse(std::move(made))) ++ofUse;
    }
    if (ofUse > 0) break;
  }
  return last;
}

std::optional<Plan> parsePlan(const Target& target, const std::string& json) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  target.bind(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
  const cudnnStatus_t taken = cudnnBackendSetAttribute(
      plan.handle(), CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
      static_cast<int64_t>(json.size() + 1), json.c_str());
  if (taken != CUDNN_STATUS_SUCCESS || !plan.tryFinalize()) return {};
  return Plan(std::move(plan));
}

}  // namespace onehour::cuda
