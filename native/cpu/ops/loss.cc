// Softmax cross-entropy with label smoothing and top-k counts.
#include "../../core/ops/loss.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "../../core/error.h"
#include "../../core/ops/check.h"
#include "../runtime/simd.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

void checkLabel(const char* op, int32_t label, int64_t image, int64_t classes) {
  if (label >= -1 && label < classes) return;
  throw Error("ERR_KERNEL", "onehour",
              "[" + std::string(op) + "] expected labels from 0 to " + std::to_string(classes - 1) +
                  " (or -1 for none), got " + std::to_string(label) + " at image " +
                  std::to_string(image) + "; check the data set's number of classes");
}

// Probabilities of one image and its loss: (1 − s)·(log Σ − z_label) + s·mean over classes.
double softmax(const float* logits, int32_t label, const CrossEntropy& problem,
               float* probabilities) {
  const int64_t classes = problem.classes;
  const float largest = *std::max_element(logits, logits + classes);
  double sum = 0;
  double total = 0;  // Σ z − largest
  for (int64_t c = 0; c < classes; ++c) {
    const float shifted = logits[c] - largest;
    const float exponential = std::exp(shifted);
    probabilities[c] = exponential;
    sum += exponential;
    total += shifted;
  }
  const float inverse = static_cast<float>(1 / sum);
  for (int64_t c = 0; c < classes; ++c) probabilities[c] *= inverse;
  if (label < 0) return 0;
  const double logSum = std::log(sum);
  const double ofLabel = logSum - (logits[label] - largest);
  if (problem.smoothing == 0) return ofLabel;
  return (1 - problem.smoothing) * ofLabel +
         problem.smoothing * (logSum - total / static_cast<double>(classes));
}

// Number of logits in front of the label's. A NaN is in front of everything.
int64_t rankOf(const float* logits, int32_t label, int64_t classes) {
  int64_t rank = 0;
  for (int64_t c = 0; c < classes; ++c) {
    const bool ranksLower =
        c == label ? !std::isnan(logits[c])
                   : logits[c] < logits[label] || (logits[c] == logits[label] && c > label);
    rank += ranksLower ? 0 : 1;
  }
  return rank;
}

std::unique_ptr<Kernel> crossEntropy(const Instruction& instruction, PrepareContext&) {
  const Operand& logits = instruction.input("logits");
  const CrossEntropy problem = crossEntropyOf(instruction, logits);
  const Operand& metrics = instruction.output("metrics");
  const Operand& probabilities = instruction.output("probabilities");
  return makeKernel([problem, z = logits.as<float>(),
                     labels = instruction.input("labels").as<int32_t>(),
                     metrics = metrics.as<float>(), p = probabilities.as<float>(),
                     accumulate = flag(instruction, "accumulate")](Stream&) {
    double loss = 0;
    int64_t top1 = 0, top5 = 0, counted = 0;
    for (int64_t n = 0; n < problem.images; ++n) {
      const float* row = z + n * problem.classes;
      const int32_t label = labels[n];
      checkLabel("softmax-cross-entropy", label, n, problem.classes);
      loss += softmax(row, label, problem, p + n * problem.classes);
      if (label < 0) continue;
      const int64_t rank = rankOf(row, label, problem.classes);
      top1 += rank < 1;
      top5 += rank < 5;
      ++counted;
    }
    const float sums[4] = {static_cast<float>(loss * problem.scale), static_cast<float>(top1),
                           static_cast<float>(top5), static_cast<float>(counted)};
    for (int i = 0; i < 4; ++i) metrics[i] = accumulate ? metrics[i] + sums[i] : sums[i];
  });
}

// dlogits = scale · (p − target), target = 1 − s + s/K at the label and s/K elsewhere.
template <typename T>
void backward(const CrossEntropy& problem, double scale, const float* p, const int32_t* labels,
              T* dlogits) {
  const double rest = problem.smoothing / static_cast<double>(problem.classes);
  for (int64_t n = 0; n < problem.images; ++n) {
    const int32_t label = labels[n];
    checkLabel("softmax-cross-entropy-backward", label, n, problem.classes);
    for (int64_t c = 0; c < problem.classes; ++c) {
      const int64_t i = n * problem.classes + c;
      const double target = c == label ? 1 - problem.smoothing + rest : rest;
      dlogits[i] = store<T>(label < 0 ? 0.0f : static_cast<float>(scale * (p[i] - target)));
    }
  }
}

std::unique_ptr<Kernel> crossEntropyBackward(const Instruction& instruction, PrepareContext&) {
  const Operand& probabilities = instruction.input("probabilities");
  const CrossEntropy problem = crossEntropyOf(instruction, probabilities);
  const Operand& dlogits = instruction.output("dlogits");
  const Operand* dloss = instruction.findInput("dloss");
  return withType(dlogits.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel([problem, p = probabilities.as<float>(),
                       labels = instruction.input("labels").as<int32_t>(),
                       dloss = dloss == nullptr ? nullptr : dloss->as<float>(),
                       dlogits = dlogits.as<T>()](Stream&) {
      const double scale = problem.scale * (dloss == nullptr ? 1 : *dloss);
      backward(problem, scale, p, labels, dlogits);
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

}  // namespace onehour::cpu
