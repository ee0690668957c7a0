// Execution plans of operation graphs: cuDNN's proposals, and plans from their JSON form.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "conv-graph.h"
#include "search-budget.h"

namespace onehour::cuda {

// One of cuDNN's engines, as far as it matters here.
struct EngineTraits {
  std::string words;      // e.g. "engine 38, tensor cores, compiled at run time"
  bool repeats = true;    // its bits, from run to run
  bool compiled = false;  // at run time, which takes seconds
};

// A way to compute a graph: one of cuDNN's engines with its settings.
class Plan {
 public:
  // `configuration` is what the descriptor was made from, if anything.
  Plan(Descriptor descriptor, EngineTraits engine, std::optional<Descriptor> configuration = {});
  const Descriptor& descriptor() const { return descriptor_; }
  size_t workspaceBytes() const { return workspaceBytes_; }
  const EngineTraits& engine() const { return engine_; }
  // cuDNN's own form, from which `parsePlan` makes the plan again: in milliseconds, where an engine
  // was compiled too.
  std::string json() const {
    return descriptor_.text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
  }

 private:
  std::optional<Descriptor> configuration_;
  Descriptor descriptor_;
  size_t workspaceBytes_;
  EngineTraits engine_;
};

// Which plans are looked for.
struct Limits {
  size_t plans = 8;     // at most so many that are of use
  size_t compiled = 2;  // and so many of them that are compiled at run time; 0: none is tried
  size_t workspaceBytes = size_t{512} << 20;  // of each
  double seconds = 4;     // no further one when making and trying the first ones took so long
  double patience = 120;  // none at all when so long not one was of use
  SearchBudget::Clock clock = steadySeconds;
};

// Hands plans to `isOfUse` in the order in which cuDNN recommends them, of those engines alone that
// compute with what the graph's arithmetic allows, until it has said yes often enough. Engines
// whose bits differ from run to run come last; where others were of use, only to be compared, and
// none that is compiled. Says why there is no further one: what was wrong with the last engine, or
// that it took too long.
std::string proposePlans(const Target& target, const OperationGraph& graph, const Limits& limits,
                         const std::function<bool(Plan)>& isOfUse);

// The plan that `Plan::json` described; nothing when this cuDNN or device does not take it.
std::optional<Plan> parsePlan(const Target& target, const std::string& json,
                              EngineTraits engine = {});

}  // namespace onehour::cuda
