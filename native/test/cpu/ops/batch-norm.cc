// Tests of batch normalisation, forward and backward, and of statistics merged over ranks.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {
namespace {

struct Moments {
  std::vector<double> mean, m2;
};

Moments momentsOf(const Tensor& x) {
  const int64_t channels = x.shape().back(), rows = x.count() / channels;
  Moments result{std::vector<double>(static_cast<size_t>(channels)),
                 std::vector<double>(static_cast<size_t>(channels))};
  for (int64_t i = 0; i < x.count(); ++i) {
    result.mean[static_cast<size_t>(i % channels)] += x[i] / static_cast<double>(rows);
  }
  for (int64_t i = 0; i < x.count(); ++i) {
    const auto c = static_cast<size_t>(i % channels);
    result.m2[c] += (x[i] - result.mean[c]) * (x[i] - result.mean[c]);
  }
  return result;
}

void normalization(const ImageSize& size, DataType type, double offset) {
  const int64_t channels = size.c;
  const Shape shape{size.n, size.h, size.w, size.c};
  const double rows = static_cast<double>(size.n * size.h * size.w);
  Tensor x = Tensor("x", type, shape).fill([&](int64_t i) {
    return offset * static_cast<double>(i % channels + 1) / static_cast<double>(channels) +
           normal();
  });
  Tensor statistics("statistics", DataType::f32, {1, 2 * channels + 1});
  run("batch-norm-statistics", {}, {x}, {statistics});
  const Moments moments = momentsOf(x);
  std::vector<double> want = moments.mean;
  want.insert(want.end(), moments.m2.begin(), moments.m2.end());
  want.push_back(rows);
  check(statistics.guarded(), "statistics overrun");
  for (int64_t i = 0; i <= 2 * channels; ++i) {
    const double expected = want[static_cast<size_t>(i)];
    const double slack = i < channels ? 1e-6 : 0;
    check(std::abs(statistics[i] - expected) <= 2e-6 * std::abs(expected) + slack,
          "statistics[" + std::to_string(i) + "] expected " + std::to_string(expected) + ", got " +
              std::to_string(statistics[i]));
  }

  Tensor mean = vector("mean", channels), inverseStd = vector("inverse-std", channels);
  Tensor runningMean = vector("running-mean", channels).random();
  Tensor runningVariance =
      vector("running-variance", channels).fill([](int64_t) { return 1 + std::abs(normal()); });
  const std::vector<double> oldMean = runningMean.values(), oldVariance = runningVariance.values();
  run("batch-norm-finalize", {{"epsilon", "1e-5"}, {"decay", "0.9"}, {"gain", "0.1"}},
      {statistics, runningMean, runningVariance}, {mean, inverseStd, runningMean, runningVariance});
  std::vector<double> istd(static_cast<size_t>(channels)), newMean = istd, newVariance = istd;
  for (size_t c = 0; c < istd.size(); ++c) {
    istd[c] = 1 / std::sqrt(moments.m2[c] / rows + 1e-5);
    newMean[c] = 0.9 * oldMean[c] + 0.1 * moments.mean[c];
    newVariance[c] = 0.9 * oldVariance[c] + 0.1 * moments.m2[c] / std::max(rows - 1, 1.0);
  }
  if (rows > 1) compare("inverse-std", inverseStd, istd, 1e-5);
  compare("running-mean", runningMean, newMean, 1e-5);
  compare("running-variance", runningVariance, newVariance, 1e-5);

  Tensor gamma = vector("gamma", channels).random(), beta = vector("beta", channels).random();
  Tensor residual = Tensor("residual", type, shape).random();
  Tensor dy = Tensor("dy", type, shape).random(), dy2 = Tensor("dy2", type, shape).random();
  const auto hat = [&](int64_t i) {
    return (x[i] - mean[i % channels]) * inverseStd[i % channels];
  };
  for (bool relu : {false, true}) {
    for (bool added : {false, true}) {
      Tensor y("y", type, shape);
      std::vector<Tensor> inputs{x, mean, inverseStd, gamma, beta};
      if (added) inputs.push_back(residual);
      const Attributes attributes{{"relu", relu ? "1" : "0"}};
      run("batch-norm-apply", attributes, inputs, {y});
      std::vector<double> yWant;
      for (int64_t i = 0; i < x.count(); ++i) {
        const double value =
            gamma[i % channels] * hat(i) + beta[i % channels] + (added ? residual[i] : 0);
        yWant.push_back(relu ? std::max(value, 0.0) : value);
      }
      compare("y", y, yWant, 3e-6, std::abs(offset) + 3);

      Attributes constants = attributes;
      constants.emplace_back("epsilon", "1e-5");
      std::vector<Tensor> inference{x, runningMean, runningVariance, gamma, beta};
      if (added) inference.push_back(residual);
      Tensor evaluated("y", type, shape);
      run("batch-norm-inference", constants, inference, {evaluated});
      for (int64_t i = 0; i < x.count(); ++i) {
        const int64_t c = i % channels;
        const double value =
            gamma[c] * (x[i] - runningMean[c]) / std::sqrt(runningVariance[c] + 1e-5) + beta[c] +
            (added ? residual[i] : 0);
        yWant[static_cast<size_t>(i)] = relu ? std::max(value, 0.0) : value;
      }
      compare("inference y", evaluated, yWant, 3e-6, std::abs(offset) + 3);

      for (bool two : {false, true}) {
        for (bool accumulate : {false, true}) {
          const bool wantsDz = added || two;
          const bool givesY = relu && added;
          Tensor sums = vector("sums", 2 * channels), dz("dz", type, shape);
          Tensor dgamma = vector("dgamma", channels).random();
          Tensor dbeta = vector("dbeta", channels).random();
          std::vector<double> dgammaWant = dgamma.values(), dbetaWant = dbeta.values();
          if (!accumulate) {
            std::fill(dgammaWant.begin(), dgammaWant.end(), 0.0);
            std::fill(dbetaWant.begin(), dbetaWant.end(), 0.0);
          }
          std::vector<double> dzWant, sumsWant(static_cast<size_t>(2 * channels));
          for (int64_t i = 0; i < x.count(); ++i) {
            const auto c = static_cast<size_t>(i % channels);
            // The mask as forward rounded it: from its y, or from the same y without a residual.
            bool active = true;
            if (relu && added) active = y[i] > 0;
            if (relu && !added) {
              const float scale = static_cast<float>(gamma[i % channels]) *
                                  static_cast<float>(inverseStd[i % channels]);
              active = std::fma(static_cast<float>(x[i]) - static_cast<float>(mean[i % channels]),
                                scale, static_cast<float>(beta[i % channels])) > 0;
              // Unless the storage type rounds a tiny positive value to zero, forward agrees.
              check(active == (y[i] > 0), "the mask differs from forward's");
            }
            const double gradient = active ? dy[i] + (two ? dy2[i] : 0) : 0;
            dzWant.push_back(gradient);
            sumsWant[c] += gradient;
            sumsWant[static_cast<size_t>(channels) + c] += gradient * hat(i);
          }
          for (size_t c = 0; c < dbetaWant.size(); ++c) {
            dbetaWant[c] += sumsWant[c];
            dgammaWant[c] += sumsWant[dbetaWant.size() + c];
          }
          std::vector<Tensor> in{dy, x, mean, inverseStd, gamma, beta};
          if (two) in.push_back(dy2);
          if (givesY) in.push_back(y);
          if (accumulate) in.insert(in.end(), {dgamma, dbeta});
          std::vector<Tensor> out{sums, dgamma, dbeta};
          if (wantsDz) out.push_back(dz);
          Attributes options = attributes;
          if (accumulate) options.emplace_back("accumulate", "1");
          run("batch-norm-reduce", options, in, out);
          const double scale = std::sqrt(rows) * 2 + 1;
          compare("sums", sums, sumsWant, 3e-6, scale);
          compare("dgamma", dgamma, dgammaWant, 3e-6, scale);
          compare("dbeta", dbeta, dbetaWant, 3e-6, scale);
          if (wantsDz) compare("dz", dz, dzWant, 1e-6);

          // Backward: from dz, or from dy with the mask recomputed.
          Tensor dx("dx", type, shape);
          const Tensor& from = wantsDz ? dz : dy;
          run("batch-norm-backward",
              {{"relu", relu && !wantsDz ? "1" : "0"}, {"count", std::to_string(rows)}},
              {from.as("dz"), x, mean, inverseStd, gamma, beta, sums}, {dx});
          std::vector<double> dxWant;
          double slope = 0;  // largest |γ / σ|
          for (int64_t i = 0; i < x.count(); ++i) {
            const int64_t c = i % channels;
            slope = std::max(slope, std::abs(gamma[c] * inverseStd[c]));
            const double g = wantsDz ? dz[i] : dzWant[static_cast<size_t>(i)];
            dxWant.push_back(gamma[c] * inverseStd[c] *
                             (g - sums[c] / rows - hat(i) * sums[channels + c] / rows));
          }
          compare("dx", dx, dxWant, 1e-6, slope);
          if (wantsDz) {  // in place
            run("batch-norm-backward", {{"relu", "0"}, {"count", std::to_string(rows)}},
                {dz, x, mean, inverseStd, gamma, beta, sums}, {dz.as("dx")});
            compare("dx in place", dz, dxWant, 1e-6, slope);
          }
        }
      }
    }
  }
}

}  // namespace

void normalizations() {
  const ImageSize sizes[] = {{1, 1, 3, 1},    {2, 3, 5, 7},    {3, 5, 7, 16},  {2, 9, 11, 33},
                             {4, 28, 28, 16}, {1, 7, 7, 300},  {2, 2, 2, 128}, {1, 1, 1, 5},
                             {8, 30, 31, 64}, {2, 40, 40, 10}, {1, 3, 3, 2050}};
  for (const ImageSize& size : sizes) {
    for (DataType type : {DataType::f32, DataType::bf16}) normalization(size, type, 1);
  }
  normalization({8, 30, 31, 24}, DataType::f32, 100);
}

void mergedStatistics() {
  const int64_t channels = 19, ranks = 3;
  Tensor all("statistics", DataType::f32, {ranks, 2 * channels + 1});
  Tensor whole("x", DataType::f32, {1, 1, 60, channels});
  whole.random(2, 5);
  int64_t from = 0;
  for (int64_t r = 0; r < ranks; ++r) {
    const int64_t rows = 10 * (r + 1);
    Tensor part("x", DataType::f32, {1, 1, rows, channels});
    part.fill([&](int64_t i) { return whole[from * channels + i]; });
    from += rows;
    Tensor statistics("statistics", DataType::f32, {1, 2 * channels + 1});
    run("batch-norm-statistics", {}, {part}, {statistics});
    for (int64_t i = 0; i <= 2 * channels; ++i) all.set(r * (2 * channels + 1) + i, statistics[i]);
  }
  Tensor mean = vector("mean", channels), inverseStd = vector("inverse-std", channels);
  Tensor runningMean = vector("running-mean", channels).random();
  Tensor runningVariance = vector("running-variance", channels).random();
  run("batch-norm-finalize", {{"epsilon", "1e-5"}, {"decay", "0"}, {"gain", "1"}},
      {all, runningMean, runningVariance}, {mean, inverseStd, runningMean, runningVariance});
  const Moments moments = momentsOf(whole);
  std::vector<double> variance;
  for (double m2 : moments.m2) variance.push_back(m2 / 59);
  compare("mean", mean, moments.mean, 1e-6);
  compare("running-variance", runningVariance, variance, 2e-6);
}

}  // namespace onehour::cpu::test
