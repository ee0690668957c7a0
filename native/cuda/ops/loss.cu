// Softmax cross-entropy with label smoothing and top-k counts: one block an image, whose sums over
// classes are kept in fp64 as on the CPU.
#include "../../core/ops/check.h"
#include "../../core/ops/loss.h"
#include "../runtime/cuda.h"
#include "../tiling/block-reduce.cuh"
#include "../tiling/pack.cuh"
#include "kernels.h"

namespace onehour::cuda {
namespace {

constexpr int threads = 256;  // of a block, at most
constexpr int lanes = 4;      // classes of one access, where their number allows
// Blocks that a multiprocessor holds at least: registers for them, else the compiler spills some to
// hold more.
constexpr int residentBlocks = 4;

// What an image adds to the metrics.
struct Score {
  double loss;
  int rank;  // of the label, from 0; −1 where the image does not count
};

// The label, or −1 for one that is no class; the first of those is noted.
__device__ int checkedLabel(const int32_t* labels, int64_t image, int64_t classes, Fault* fault) {
  const int label = labels[image];
  if (label >= -1 && label < classes) return label;
  if (threadIdx.x == 0 && atomicCAS(&fault->kind, Fault::none, Fault::label) == Fault::none) {
    fault->value = label;
    fault->place = static_cast<int>(image);
    fault->allowed = static_cast<int>(classes);
  }
  return -1;
}

// Whether a logit is not in front of the label's. A NaN is in front of everything.
__device__ __forceinline__ bool isBehind(float logit, int64_t place, float ofLabel, int label) {
  if (place == label) return logit == logit;
  return logit < ofLabel || (logit == ofLabel && place > label);
}

template <int width>
__device__ Score scoreImage(const CrossEntropy& problem, const float* logits, int label,
                            float* probabilities) {
  using Logits = Pack<float, width>;
  const int64_t classes = problem.classes;
  const int64_t first = threadIdx.x * width;
  const int64_t stride = static_cast<int64_t>(blockDim.x) * width;
  float largest = -INFINITY;
  for (int64_t c = first; c < classes; c += stride) {
    const auto pack = Logits::read(logits + c);
#pragma unroll
    for (int lane = 0; lane < width; ++lane) largest = fmaxf(largest, pack.values[lane]);
  }
  largest = blockReduce<Largest>(largest);

  const float ofLabel = label < 0 ? 0 : logits[label];
  double sum = 0;
  double total = 0;  // Σ z − largest
  int rank = 0;
  for (int64_t c = first; c < classes; c += stride) {
    const auto pack = Logits::read(logits + c);
#pragma unroll
    for (int lane = 0; lane < width; ++lane) {
      const float shifted = pack.values[lane] - largest;
      sum += expf(shifted);
      total += shifted;
      rank += isBehind(pack.values[lane], c + lane, ofLabel, label) ? 0 : 1;
    }
  }
  sum = blockReduce<Sum>(sum);
  total = blockReduce<Sum>(total);
  rank = blockReduce<Sum>(rank);

  const float inverse = static_cast<float>(1 / sum);
  for (int64_t c = first; c < classes; c += stride) {
    auto pack = Logits::read(logits + c);
#pragma unroll
    for (int lane = 0; lane < width; ++lane) {
      pack.values[lane] = expf(pack.values[lane] - largest) * inverse;
    }
    pack.write(probabilities + c);
  }
  if (label < 0) return {0, -1};
  // (1 − s)·(log Σ − z_label) + s·mean over classes
  const double logSum = log(sum);
  const double loss = logSum - (ofLabel - largest);
  if (problem.smoothing == 0) return {loss, rank};
  return {(1 - problem.smoothing) * loss +
              problem.smoothing * (logSum - total / static_cast<double>(classes)),
          rank};
}

struct Metrics {
  float* values;  // Σ loss·scale, top-1, top-5, counted
  bool accumulate;
};

// By one block; the images' order alone decides the order of additions.
__device__ void sumScores(const CrossEntropy& problem, const Score* scores, Metrics metrics) {
  double loss = 0;
  int top1 = 0;
  int top5 = 0;
  int counted = 0;
  for (int64_t image = threadIdx.x; image < problem.images; image += blockDim.x) {
    const Score score = scores[image];
    loss += score.loss;
    top1 += score.rank == 0;
    top5 += score.rank >= 0 && score.rank < 5;
    counted += score.rank >= 0;
  }
  loss = blockReduce<Sum>(loss);
  top1 = blockReduce<Sum>(top1);
  top5 = blockReduce<Sum>(top5);
  counted = blockReduce<Sum>(counted);
  if (threadIdx.x != 0) return;
  const float sums[4] = {static_cast<float>(loss * problem.scale), static_cast<float>(top1),
                         static_cast<float>(top5), static_cast<float>(counted)};
  for (int i = 0; i < 4; ++i) {
    metrics.values[i] = metrics.accumulate ? metrics.values[i] + sums[i] : sums[i];
  }
}

template <int width>
__global__ void __launch_bounds__(threads, residentBlocks)
    crossEntropyKernel(CrossEntropy problem, const float* logits, const int32_t* labels,
                       float* probabilities, Metrics metrics, Score* scores, unsigned int* arrived,
                       Fault* fault) {
  for (int64_t image = blockIdx.x; image < problem.images; image += gridDim.x) {
    const int label = checkedLabel(labels, image, problem.classes, fault);
    const int64_t row = image * problem.classes;
    const Score score = scoreImage<width>(problem, logits + row, label, probabilities + row);
    if (threadIdx.x == 0) scores[image] = score;
  }
  if (isLastBlock(arrived)) sumScores(problem, scores, metrics);
}

// dlogits = scale · (p − target), target = 1 − s + s/K at the label and s/K elsewhere.
template <typename T, int width>
__global__ void __launch_bounds__(threads)
    crossEntropyBackwardKernel(CrossEntropy problem, const float* probabilities,
                               const int32_t* labels, const float* dloss, T* dlogits,
                               Fault* fault) {
  const double scale = problem.scale * (dloss == nullptr ? 1 : *dloss);
  const double rest = problem.smoothing / static_cast<double>(problem.classes);
  for (int64_t image = blockIdx.x; image < problem.images; image += gridDim.x) {
    const int label = checkedLabel(labels, image, problem.classes, fault);
    const int64_t row = image * problem.classes;
    for (int64_t c = threadIdx.x * width; c < problem.classes;
         c += static_cast<int64_t>(blockDim.x) * width) {
      const auto pack = Pack<float, width>::readOnce(probabilities + row + c);
      Pack<T, width> result;
#pragma unroll
      for (int lane = 0; lane < width; ++lane) {
        const double target = c + lane == label ? 1 - problem.smoothing + rest : rest;
        result.values[lane] =
            store<T>(label < 0 ? 0.0f : static_cast<float>(scale * (pack.values[lane] - target)));
      }
      result.write(dlogits + row + c);
    }
  }
}

struct Launch {
  dim3 grid, block;
};

Launch launchFor(const CrossEntropy& problem, int width, const PrepareContext& context) {
  return {gridFor(problem.images, traitsOf(context)),
          dim3(static_cast<unsigned>(threadsFor(problem.classes / width, threads)))};
}

std::unique_ptr<Kernel> crossEntropy(const Instruction& instruction, PrepareContext& context) {
  const Operand& logits = instruction.input("logits");
  const CrossEntropy problem = crossEntropyOf(instruction, logits);
  const Operand& metrics = instruction.output("metrics");
  const Operand& probabilities = instruction.output("probabilities");
  const float* z = logits.as<float>();
  float* p = probabilities.as<float>();
  const bool wide = dividesInto(lanes, problem.classes, z, p);
  return makeKernel(
      [=, kernel = LoadedKernel(wide ? crossEntropyKernel<lanes> : crossEntropyKernel<1>),
       shape = launchFor(problem, wide ? lanes : 1, context),
       labels = instruction.input("labels").as<int32_t>(),
       metrics = Metrics{metrics.as<float>(), flag(instruction, "accumulate")},
       arrived = context.backend.allocate(sizeof(unsigned int), MemoryKind::device),
       fault = faultOf(context)](Stream& stream) {
        launch(kernel, shape.grid, shape.block, stream, problem, z, labels, p, metrics,
               static_cast<Score*>(stream.workspace()), static_cast<unsigned int*>(arrived.get()),
               fault);
      },
      static_cast<size_t>(problem.images) * sizeof(Score));
}

std::unique_ptr<Kernel> crossEntropyBackward(const Instruction& instruction,
                                             PrepareContext& context) {
  const Operand& probabilities = instruction.input("probabilities");
  const CrossEntropy problem = crossEntropyOf(instruction, probabilities);
  const Operand& dlogits = instruction.output("dlogits");
  const Operand* dloss = instruction.findInput("dloss");
  return withType(dlogits.type, [&](auto tag) {
    using T = decltype(tag);
    const float* p = probabilities.as<float>();
    T* d = dlogits.as<T>();
    const bool wide = dividesInto(lanes, problem.classes, p, d);
    return makeKernel([=,
                       kernel = LoadedKernel(wide ? crossEntropyBackwardKernel<T, lanes>
                                                  : crossEntropyBackwardKernel<T, 1>),
                       shape = launchFor(problem, wide ? lanes : 1, context),
                       labels = instruction.input("labels").as<int32_t>(),
                       scale = dloss == nullptr ? nullptr : dloss->as<const float>(),
                       fault = faultOf(context)](Stream& stream) {
      launch(kernel, shape.grid, shape.block, stream, problem, p, labels, scale, d, fault);
    });
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"softmax-cross-entropy",
       {"logits:f32[N,K] labels:i32[N] metrics?:f32[4] -> metrics:f32[4] probabilities:f32[N,K]",
        crossEntropy}},
      {"softmax-cross-entropy-backward",
       {"probabilities:f32[N,K] labels:i32[N] dloss?:f32[1] -> dlogits:T[N,K]",
        crossEntropyBackward}},
  };
});

}  // namespace

}  // namespace onehour::cuda
