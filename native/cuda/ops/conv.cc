// Two-dimensional convolution and its two gradients, by cuDNN's plans. Activations NHWC, filters
// KRSC.
//
// A filter gradient comes from cuDNN in the type of the activations, since its engines that write
// fp32 from bf16 are slow; the sums in it are fp32 either way, and it is rounded once. In fp16 it
// may overflow there, as in PyTorch's autocast: that step is skipped. The program may leave it so
// (conv2d-backward-weight-rounded) until one pass widens those of a bucket.
//
// The statistics of batch normalisation may come out of the convolution's epilogue, as Σy and Σy²
// in fp32, where that is faster than reading y again. The variance is their difference: where
// |mean| is ten times the standard deviation its relative error is between 1e-6 and 3e-4, by the
// order of cuDNN's additions (2e-7 by the kernel that reads y), while the rounding of y to bf16
// alone moves it by 3e-4; both grow with the square of that ratio, which is seldom above one before
// a batch normalisation. So bf16, fp16 and tf32 may take it, and fp32, which is exact, never does.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "../../core/ops/batch-norm.h"
#include "../cudnn/conv-problem.h"
#include "../cudnn/plan-kernel.h"
#include "../tiling/tiling.h"
#include "conv-finish.h"
#include "kernels.h"

namespace onehour::cuda {
namespace {

struct LoadSearches : Searches {
  explicit LoadSearches(const PrepareContext& context) : Searches(traitsOf(context).threads) {}
};

// The convolution alone.
std::unique_ptr<Kernel> planned(const Instruction& instruction, PrepareContext& context,
                                const ConvProblem& problem) {
  Target& target = Target::current();
  return chooseKernel(
      target, describe(target, problem.patterns[0], problem.arithmetic, problem.convolution),
      instruction,
      [&](const Choice& plan) {
        return std::make_unique<PlanKernel>(
            target, plan,
            std::vector<Binding>{{xTensor, problem.x}, {wTensor, problem.w}, {yTensor, problem.y}});
      },
      context.shared<LoadSearches>(), false);
}

std::unique_ptr<Kernel> conv2d(const Instruction& instruction, PrepareContext& context) {
  return planned(instruction, context, ConvProblem(instruction));
}

std::unique_ptr<Kernel> conv2dBackwardWeight(const Instruction& instruction,
                                             PrepareContext& context) {
  const ConvProblem problem(instruction);
  const bool accumulate = flag(instruction, "accumulate");
  const DataType type = problem.convolution.type;
  if (type == DataType::f32 && !accumulate) return planned(instruction, context, problem);

  Target& target = Target::current();
  const int64_t count = problem.convolution.filterCount();
  float* const dw = static_cast<float*>(problem.w);
  const auto finish = filterGradientFinish(type, dw, count, accumulate);
  return chooseKernel(
      target, describe(target, Pattern::backwardWeight, problem.arithmetic, problem.convolution),
      instruction,
      [&](const Choice& plan) {
        return std::make_unique<PlanKernel>(
            target, plan,
            std::vector<Binding>{{xTensor, problem.x}, {wTensor}, {yTensor, problem.y}},
            static_cast<size_t>(count) * bytesOf(type), finish);
      },
      context.shared<LoadSearches>(), false);
}

// The convolution, then the kernel of batch-norm-statistics or -moments on its output.
std::unique_ptr<Kernel> inTwoSteps(const Instruction& instruction, PrepareContext& context,
                                   const ConvProblem& problem) {
  struct TwoSteps final : Kernel {
    Instruction second;  // which its kernel may refer to
    std::unique_ptr<Kernel> convolution, statistics;
    void run(Stream& stream) override {
      convolution->run(stream);
      statistics->run(stream);
    }
    size_t workspaceBytes() const override {
      return std::max(convolution->workspaceBytes(), statistics->workspaceBytes());
    }
  };
  auto kernel = std::make_unique<TwoSteps>();
  kernel->second = instruction;
  kernel->second.op =
      instruction.op == "conv2d-moments" ? "batch-norm-moments" : "batch-norm-statistics";
  Operand x = instruction.output("y");
  x.name = std::string("x");  // GCC 12 warns of an overlap where the text is assigned by itself
  std::erase_if(kernel->second.inputs,
                [](const Operand& own) { return own.name == "x" || own.name == "w"; });
  std::erase_if(kernel->second.outputs, [](const Operand& own) { return own.name == "y"; });
  kernel->second.inputs.push_back(std::move(x));
  kernel->convolution = planned(instruction, context, problem);
  kernel->statistics =
      kernelRegistry().kernels().at(kernel->second.op).prepare(kernel->second, context);
  return kernel;
}

// Σy and Σy² by the convolution's epilogue, which adds to what is there.
std::unique_ptr<Kernel> inOneStep(const Instruction& instruction, PrepareContext& context,
                                  const ConvProblem& problem, const Choice& plan) {
  const int64_t channels = problem.convolution.k;
  const int64_t rows = problem.convolution.pixels();
  float* const statistics = instruction.output("statistics").as<float>();
  const int64_t padded = ceilDivide(channels, lanesOf<float>) * lanesOf<float>;
  const auto memory =
      context.backend.allocate(static_cast<size_t>(2 * padded) * sizeof(float), MemoryKind::device);
  float* const sums = static_cast<float*>(memory.get());
  float* const squares = sums + padded;
  const auto finish = [memory, sums, squares,
                       finish =
                           statisticsFinish(channels, rows, statistics, finalizeOf(instruction))](
                          Stream& stream, std::byte*) { finish(stream, sums, squares); };
  return std::make_unique<PlanKernel>(Target::current(), plan,
                                      std::vector<Binding>{{xTensor, problem.x},
                                                           {wTensor, problem.w},
                                                           {yTensor, problem.y},
                                                           {sumTensor, sums},
                                                           {squareSumTensor, squares}},
                                      0, finish);
}

std::unique_ptr<Kernel> conv2dStatistics(const Instruction& instruction, PrepareContext& context) {
  const ConvProblem problem(instruction);
  if (problem.patterns.size() == 1) return inTwoSteps(instruction, context, problem);
  Target& target = Target::current();
  return chooseKernel(
      target, describe(target, Pattern::forwardStatistics, problem.arithmetic, problem.convolution),
      instruction,
      [&](const Choice& plan) {
        return plan ? inOneStep(instruction, context, problem, plan)
                    : inTwoSteps(instruction, context, problem);
      },
      context.shared<LoadSearches>(), true);
}

// The graphs that the line may be computed with; the one with the statistics in its epilogue has
// the plain one for an alternative.
void anticipate(const Instruction& instruction, PrepareContext& context) {
  const ConvProblem problem(instruction);
  for (const Pattern pattern : problem.patterns) {
    planAhead(Target::current(), pattern, problem.arithmetic, problem.convolution,
              context.shared<LoadSearches>(), pattern == Pattern::forwardStatistics);
  }
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"conv2d", {"x:T[N,H,W,C] w:T[K,R,S,D] -> y:T[N,P,Q,K]", conv2d, 1, anticipate}},
      {"conv2d-backward-data",
       {"dy:T[N,P,Q,K] w:T[K,R,S,D] -> dx:T[N,H,W,C]", conv2d, 1, anticipate}},
      {"conv2d-backward-weight",
       {"x:T[N,H,W,C] dy:T[N,P,Q,K] dw?:f32[K,R,S,D] -> dw:f32[K,R,S,D]", conv2dBackwardWeight, 2,
        anticipate}},
      {"conv2d-backward-weight-rounded",
       {"x:T[N,H,W,C] dy:T[N,P,Q,K] -> dw:T[K,R,S,D]", conv2d, 1, anticipate}},
      {"conv2d-moments",
       {"x:T[N,H,W,C] w:T[K,R,S,D] running-mean:f32[K] running-variance:f32[K] -> y:T[N,P,Q,K] "
        "statistics:f32[1,2K+1] mean:f32[K] inverse-std:f32[K] running-mean:f32[K] "
        "running-variance:f32[K]",
        conv2dStatistics, 2, anticipate}},
      {"conv2d-statistics",
       {"x:T[N,H,W,C] w:T[K,R,S,D] -> y:T[N,P,Q,K] statistics:f32[1,2K+1]", conv2dStatistics, 2,
        anticipate}},
  };
});

}  // namespace

}  // namespace onehour::cuda
