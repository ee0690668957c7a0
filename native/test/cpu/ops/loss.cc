// Tests of the loss and its metrics.
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {

void crossEntropy() {
  const int64_t n = 9, k = 11;
  const double scale = 1.0 / 16;
  for (double smoothing : {0.0, 0.1}) {
    Tensor logits = Tensor("logits", DataType::f32, {n, k}).random(3);
    Tensor labels("labels", DataType::i32, {n});
    labels.fill([&](int64_t i) { return i == 4 ? -1.0 : static_cast<double>(generator() % k); });
    for (int64_t c = 0; c < k; ++c) logits.set(7 * k + c, 0);  // a tie everywhere
    labels.set(7, 3);                                          // rank 3: in the top 5 only
    Tensor metrics = vector("metrics", 4), probabilities("probabilities", DataType::f32, {n, k});
    double loss = 0, top1 = 0, top5 = 0;
    std::vector<double> pWant, dWant;
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += std::exp(logits[i * k + c]);
      const int64_t label = static_cast<int64_t>(labels[i]);
      int rank = 0;
      for (int64_t c = 0; c < k; ++c) {
        const double p = std::exp(logits[i * k + c]) / sum;
        const double target = (c == label ? 1 - smoothing : 0) + smoothing / static_cast<double>(k);
        pWant.push_back(p);
        dWant.push_back(label < 0 ? 0 : scale * (p - target));
        if (label < 0) continue;
        loss -= target * std::log(p) * scale;
        const double a = logits[i * k + c], b = logits[i * k + label];
        rank += a > b || (a == b && c < label);
      }
      top1 += label >= 0 && rank < 1;
      top5 += label >= 0 && rank < 5;
    }
    const std::string smooth = std::to_string(smoothing), factor = std::to_string(scale);
    const Attributes attributes{{"smoothing", smooth}, {"scale", factor}};
    run("softmax-cross-entropy", attributes, {logits, labels}, {metrics, probabilities});
    compare("metrics", metrics, {loss, top1, top5, 8}, 1e-6);
    compare("probabilities", probabilities, pWant, 1e-6);
    Attributes accumulate = attributes;
    accumulate.emplace_back("accumulate", "1");
    run("softmax-cross-entropy", accumulate, {logits, labels, metrics}, {metrics, probabilities});
    compare("metrics twice", metrics, {2 * loss, 2 * top1, 2 * top5, 16}, 1e-6);
    for (DataType type : {DataType::f32, DataType::bf16}) {
      Tensor dlogits("dlogits", type, {n, k});
      run("softmax-cross-entropy-backward", attributes, {probabilities, labels}, {dlogits});
      compare("dlogits", dlogits, dWant, 1e-5);
    }
    logits.set(5, std::nan(""));
    labels.set(0, 5);
    run("softmax-cross-entropy", attributes, {logits, labels}, {metrics, probabilities});
    check(std::isnan(metrics[0]), "a NaN logit leaves the loss finite");
    labels.set(1, static_cast<double>(k));
    const std::unique_ptr<Kernel> bad =
        prepare("softmax-cross-entropy", attributes, {logits, labels}, {metrics, probabilities});
    expectError("ERR_KERNEL", "expected labels from 0 to 10", [&] { bad->run(*device->stream); });
  }
}

}  // namespace onehour::cpu::test
