// The fastest way to run an operation graph on the buffers that it will work on, found by trying
// and remembered.
#pragma once

#include <functional>
#include <memory>

#include "plans-ahead.h"

namespace onehour::cuda {

// The chosen plan of a graph; null where the alternative to all plans was faster.
using Choice = std::shared_ptr<const Plan>;

// Makes the whole kernel that a plan is part of, or, from null, the alternative.
using KernelFromPlan = std::function<std::unique_ptr<Kernel>(const Choice&)>;

// What the searches of one load share.
struct Searches {
  // Of the ordinary kind, with so many threads for plans that take long; on this thread's device.
  explicit Searches(int threads);
  Searches(int threads, PlansAhead::MakeTarget makeTarget, SearchBudget::Clock clock);

  SearchBudget budget;
  PlansAhead ahead;  // ends first
};

// Begins to make the plans of a graph, if they are not known; where there is an alternative to
// them, within the budget of `searches`. Where several processes of a machine do so at once, each
// makes a part of the graphs' plans, and holds their files' locks until this load takes them: ranks
// of one job take all graphs in one order, but jobs whose programs order them differently may each
// wait for the other, two minutes a graph, and then search it too.
void planAhead(const Target& target, Pattern pattern, Arithmetic arithmetic,
               const Convolution& problem, Searches& searches, bool hasAlternative);

// The fastest kernel that `make` gives for the graph's plans and, where there is an alternative to
// them, for null. Then the budget of `searches` limits the search: where it allows none, the
// alternative serves for this load.
//
// The choice is kept in this process, so that a graph that occurs again gets the same plan, and in
// the folder of `planFolder()`. Processes that want the same graph at once wait there for the first
// one's choice, so the ranks of a server, or of servers with one home, run the same plans and each
// is tried once. Where they share no folder their plans may differ, and with them the rounding of
// their own share of the gradients, nothing that they must agree on.
//
// Every kernel that is returned for a plan new to this process ran once before: its code is loaded
// before a graph is recorded or a collective runs. Kernels run on the instruction's own operands,
// which are zero while programs are prepared and when this returns. While kernels are timed they
// hold random numbers: on zeros a GPU draws less power and clocks higher than in training.
std::unique_ptr<Kernel> chooseKernel(Target& target, const OperationGraph& graph,
                                     const Instruction& instruction, const KernelFromPlan& make,
                                     Searches& searches, bool hasAlternative);

}  // namespace onehour::cuda
