// Every kernel of the CPU backend against a naive loop in double precision, over odd sizes, both
// compute types and all instruction sets, with sentinels behind every tensor.
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../core/error.h"
#include "../cpu/backend.h"
#include "../cpu/simd.h"

namespace onehour::cpu {
namespace {

int failures = 0;
std::string current;  // the running test

void fail(const std::string& message) {
  ++failures;
  if (failures <= 40) std::fprintf(stderr, "FAIL %s: %s\n", current.c_str(), message.c_str());
}

void check(bool condition, const std::string& message) {
  if (!condition) fail(message);
}

std::mt19937 generator(7);

double normal() {
  static std::normal_distribution<double> distribution;
  return distribution(generator);
}

constexpr size_t guardBytes = 256;
constexpr char guard = 0x5a;

using Shape = std::vector<int64_t>;

// A tensor in memory of its own, followed by sentinels. Values are seen as doubles.
class Tensor {
 public:
  Tensor(std::string name, DataType type, Shape shape) {
    operand_.name = std::move(name);
    operand_.arena = "temp";
    operand_.type = type;
    operand_.shape = std::move(shape);
    const size_t bytes = (operand_.bytes() + guardBytes + 63) / 64 * 64;
    memory_.reset(static_cast<char*>(std::aligned_alloc(64, bytes)), std::free);
    std::memset(memory_.get(), guard, bytes);
    operand_.data = memory_.get();
  }

  Tensor& fill(const std::function<double(int64_t)>& value) {
    for (int64_t i = 0; i < count(); ++i) set(i, value(i));
    return *this;
  }
  Tensor& random(double scale = 1, double shift = 0) {
    return fill([=](int64_t) { return scale * normal() + shift; });
  }

  Tensor as(std::string name) const {
    Tensor other = *this;
    other.operand_.name = std::move(name);
    return other;
  }

  const Operand& operand() const { return operand_; }
  const Shape& shape() const { return operand_.shape; }
  DataType type() const { return operand_.type; }
  int64_t count() const { return operand_.count(); }

  double operator[](int64_t i) const {
    switch (operand_.type) {
      case DataType::f32:
        return operand_.as<float>()[i];
      case DataType::bf16:
        return load(operand_.as<bf16>()[i]);
      case DataType::u8:
        return operand_.as<uint8_t>()[i];
      default:
        return operand_.as<int32_t>()[i];
    }
  }

  void set(int64_t i, double value) {
    switch (operand_.type) {
      case DataType::f32:
        operand_.as<float>()[i] = static_cast<float>(value);
        break;
      case DataType::bf16:
        operand_.as<bf16>()[i] = store<bf16>(static_cast<float>(value));
        break;
      case DataType::u8:
        operand_.as<uint8_t>()[i] = static_cast<uint8_t>(value);
        break;
      default:
        operand_.as<int32_t>()[i] = static_cast<int32_t>(value);
    }
  }

  std::vector<double> values() const {
    std::vector<double> result(static_cast<size_t>(count()));
    for (int64_t i = 0; i < count(); ++i) result[static_cast<size_t>(i)] = (*this)[i];
    return result;
  }

  bool guarded() const {
    for (size_t i = 0; i < guardBytes; ++i) {
      if (memory_.get()[operand_.bytes() + i] != guard) return false;
    }
    return true;
  }

 private:
  Operand operand_;
  std::shared_ptr<char> memory_;
};

// |got − expected| ≤ tolerance·(|expected| + scale), where a bf16 result is also allowed its
// rounding; scale is the root mean square of what is expected, unless given.
void compare(const std::string& what, const Tensor& got, const std::vector<double>& expected,
             double tolerance, double scale = -1) {
  check(got.guarded(), what + " was overrun");
  if (static_cast<int64_t>(expected.size()) != got.count()) return fail(what + " has another size");
  if (scale < 0) {
    double sum = 0;
    for (double value : expected) sum += value * value;
    scale = std::sqrt(sum / static_cast<double>(std::max<size_t>(1, expected.size())));
  }
  const double rounding = got.type() == DataType::bf16 ? 1.0 / 200 : 0;
  for (int64_t i = 0; i < got.count(); ++i) {
    const double want = expected[static_cast<size_t>(i)];
    const double allowed = tolerance * (std::abs(want) + scale) + rounding * std::abs(want);
    if (!(std::abs(got[i] - want) <= allowed) && !(std::isnan(got[i]) && std::isnan(want))) {
      return fail(what + "[" + std::to_string(i) + "]: expected " + std::to_string(want) +
                  ", got " + std::to_string(got[i]));
    }
  }
}

struct Device {
  std::shared_ptr<Backend> backend;
  std::unique_ptr<Stream> stream;
  explicit Device(int threads)
      : backend(createCpuBackend(threads)), stream(backend->createStream("compute")) {}
};

Device* device = nullptr;

using Attributes = std::vector<std::pair<std::string, std::string>>;

std::unique_ptr<Kernel> prepare(const std::string& op, const Attributes& attributes,
                                const std::vector<Tensor>& inputs,
                                const std::vector<Tensor>& outputs) {
  Instruction instruction;
  instruction.stream = "compute";
  instruction.op = op;
  instruction.attributes = attributes;
  for (const Tensor& tensor : inputs) instruction.inputs.push_back(tensor.operand());
  for (const Tensor& tensor : outputs) instruction.outputs.push_back(tensor.operand());
  PrepareContext context{*device->backend, [](std::string_view) -> Communicator& {
                           throw Error("ERR_KERNEL", "test", "no communicator");
                         }};
  const auto factory = device->backend->kernels().find(op);
  if (factory == device->backend->kernels().end()) {
    throw Error("ERR_KERNEL", "test", "no kernel for " + op);
  }
  return factory->second(instruction, context);
}

void run(const std::string& op, const Attributes& attributes, const std::vector<Tensor>& inputs,
         const std::vector<Tensor>& outputs) {
  const std::unique_ptr<Kernel> kernel = prepare(op, attributes, inputs, outputs);
  // A workspace full of NaNs: kernels may not rely on what is in it.
  const size_t bytes = (kernel->workspaceBytes() + 63) / 64 * 64;
  std::unique_ptr<char, decltype(&std::free)> workspace(
      static_cast<char*>(std::aligned_alloc(64, bytes + guardBytes)), std::free);
  std::memset(workspace.get(), 0xff, bytes);
  std::memset(workspace.get() + bytes, guard, guardBytes);
  device->stream->bindWorkspace(workspace.get());
  device->backend->launch(*device->stream, *kernel);
  device->backend->synchronize(*device->stream);
  for (size_t i = 0; i < guardBytes; ++i) {
    if (workspace.get()[bytes + i] != guard) {
      fail("the workspace was overrun");
      break;
    }
  }
  for (const std::vector<Tensor>& side : {inputs, outputs}) {
    for (const Tensor& tensor : side) check(tensor.guarded(), tensor.operand().name + " overrun");
  }
}

template <typename Body>
void expectError(const std::string& code, const std::string& part, const Body& body) {
  try {
    body();
    fail("expected an error that says " + part);
  } catch (const Error& error) {
    check(error.code == code, "expected code " + code + ", got " + error.code);
    check(std::string(error.what()).find(part) != std::string::npos,
          std::string("expected an error that says ") + part + ", got " + error.what());
  }
}

// ---------------------------------------------------------------------------------- convolution

struct ConvCase {
  int64_t n, h, w, c, k, r, s, stride, padding;
};

void convolution(const ConvCase& size, DataType type) {
  const int64_t p = (size.h + 2 * size.padding - size.r) / size.stride + 1;
  const int64_t q = (size.w + 2 * size.padding - size.s) / size.stride + 1;
  Tensor x = Tensor("x", type, {size.n, size.h, size.w, size.c}).random();
  Tensor w = Tensor("w", type, {size.k, size.r, size.s, size.c}).random();
  Tensor dy = Tensor("dy", type, {size.n, p, q, size.k}).random();
  Tensor y("y", type, dy.shape());
  Tensor dx("dx", type, x.shape());
  Tensor dw = Tensor("dw", DataType::f32, w.shape()).random();
  std::vector<double> yWant(static_cast<size_t>(y.count()));
  std::vector<double> dxWant(static_cast<size_t>(dx.count()));
  std::vector<double> dwWant(static_cast<size_t>(dw.count()));
  const std::vector<double> dwBefore = dw.values();
  const std::vector<double> xs = x.values(), ws = w.values(), dys = dy.values();
  for (int64_t n = 0; n < size.n; ++n)
    for (int64_t i = 0; i < p; ++i)
      for (int64_t j = 0; j < q; ++j)
        for (int64_t r = 0; r < size.r; ++r)
          for (int64_t s = 0; s < size.s; ++s) {
            const int64_t row = i * size.stride + r - size.padding;
            const int64_t column = j * size.stride + s - size.padding;
            if (row < 0 || row >= size.h || column < 0 || column >= size.w) continue;
            for (int64_t k = 0; k < size.k; ++k)
              for (int64_t c = 0; c < size.c; ++c) {
                const auto yi = static_cast<size_t>(((n * p + i) * q + j) * size.k + k);
                const auto xi =
                    static_cast<size_t>(((n * size.h + row) * size.w + column) * size.c + c);
                const auto wi = static_cast<size_t>(((k * size.r + r) * size.s + s) * size.c + c);
                yWant[yi] += xs[xi] * ws[wi];
                dxWant[xi] += dys[yi] * ws[wi];
                dwWant[wi] += dys[yi] * xs[xi];
              }
          }
  const std::string stride = std::to_string(size.stride), padding = std::to_string(size.padding);
  const Attributes attributes{{"stride", stride + "," + stride},
                              {"padding", padding + "," + padding}};
  run("conv2d", attributes, {x, w}, {y});
  compare("y", y, yWant, 1e-5);
  run("conv2d-backward-data", attributes, {dy, w}, {dx});
  compare("dx", dx, dxWant, 1e-5);
  run("conv2d-backward-weight", attributes, {x, dy}, {dw});
  compare("dw", dw, dwWant, 2e-5);
  for (int64_t i = 0; i < dw.count(); ++i) dw.set(i, dwBefore[static_cast<size_t>(i)]);
  Attributes accumulate = attributes;
  accumulate.emplace_back("accumulate", "1");
  run("conv2d-backward-weight", accumulate, {x, dy, dw}, {dw});
  for (size_t i = 0; i < dwWant.size(); ++i) dwWant[i] += dwBefore[i];
  compare("accumulated dw", dw, dwWant, 2e-5);
}

void convolutions() {
  const ConvCase cases[] = {
      {2, 9, 7, 16, 16, 3, 3, 1, 1},  {1, 8, 8, 16, 32, 3, 3, 2, 1},
      {3, 9, 9, 16, 32, 1, 1, 2, 0},  {2, 7, 5, 64, 64, 1, 1, 1, 0},
      {2, 15, 13, 1, 16, 3, 3, 1, 1}, {1, 23, 25, 3, 64, 7, 7, 2, 3},
      {2, 6, 5, 5, 7, 3, 2, 1, 1},    {1, 5, 5, 1, 1, 5, 5, 1, 0},
      {1, 4, 4, 17, 33, 3, 3, 1, 1},  {2, 12, 12, 4, 16, 3, 3, 1, 1},
      {1, 7, 7, 130, 70, 1, 1, 1, 0}, {5, 28, 28, 1, 16, 3, 3, 1, 1},
  };
  for (const ConvCase& size : cases) {
    for (DataType type : {DataType::f32, DataType::bf16}) convolution(size, type);
  }
  Tensor x("x", DataType::f32, {1, 8, 8, 4}), w("w", DataType::f32, {16, 3, 3, 3});
  Tensor y("y", DataType::f32, {1, 8, 8, 16});
  const Attributes same{{"stride", "1,1"}, {"padding", "1,1"}};
  expectError("ERR_SHAPE", "[conv2d] expected w:f32[?,?,?,4], got w:f32[16,3,3,3]", [&] {
    prepare("conv2d", same, {x, w}, {y});
  });
  expectError("ERR_SHAPE", "[conv2d-backward-weight] expected", [&] {
    prepare("conv2d-backward-weight", same, {x, y.as("dy")},
            {Tensor("dw", DataType::bf16, {16, 3, 3, 4})});
  });
  expectError("ERR_SHAPE", "stride", [&] {
    prepare("conv2d", {{"stride", "0,1"}, {"padding", "1,1"}},
            {x, Tensor("w", DataType::f32, {16, 3, 3, 4})}, {y});
  });
  expectError("ERR_SHAPE", "no larger than the padded input", [&] {
    prepare("conv2d", same, {x, Tensor("w", DataType::f32, {16, 11, 3, 4})}, {y});
  });
}

// --------------------------------------------------------------------------- batch normalisation

struct NormSize {
  int64_t n, h, w, c;
};

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

Tensor vector(const char* name, int64_t count) { return {name, DataType::f32, {count}}; }

void normalization(const NormSize& size, DataType type, double offset) {
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

void normalizations() {
  const NormSize sizes[] = {{1, 1, 3, 1},    {2, 3, 5, 7},    {3, 5, 7, 16},  {2, 9, 11, 33},
                            {4, 28, 28, 16}, {1, 7, 7, 300},  {2, 2, 2, 128}, {1, 1, 1, 5},
                            {8, 30, 31, 64}, {2, 40, 40, 10}, {1, 3, 3, 2050}};
  for (const NormSize& size : sizes) {
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

// ---------------------------------------------------------------------------------------- pooling

void pooling(DataType type, const NormSize& size, int64_t window, int64_t stride, int64_t padding) {
  const int64_t p = (size.h + 2 * padding - window) / stride + 1;
  const int64_t q = (size.w + 2 * padding - window) / stride + 1;
  Tensor x = Tensor("x", type, {size.n, size.h, size.w, size.c}).random();
  Tensor y("y", type, {size.n, p, q, size.c});
  Tensor inference("y", type, y.shape()), dx("dx", type, x.shape());
  Tensor dy = Tensor("dy", type, y.shape()).random();
  Tensor index("index", DataType::u8, y.shape());
  std::vector<double> yWant(static_cast<size_t>(y.count())), dxWant(static_cast<size_t>(x.count()));
  for (int64_t i = 0; i < y.count(); ++i) {
    const int64_t c = i % size.c, column = i / size.c % q, row = i / size.c / q % p;
    const int64_t n = i / size.c / q / p;
    int64_t best = -1;
    for (int64_t r = 0; r < window; ++r)
      for (int64_t s = 0; s < window; ++s) {
        const int64_t a = row * stride + r - padding, b = column * stride + s - padding;
        if (a < 0 || a >= size.h || b < 0 || b >= size.w) continue;
        const int64_t at = ((n * size.h + a) * size.w + b) * size.c + c;
        if (best < 0 || x[at] > x[best]) best = at;
      }
    yWant[static_cast<size_t>(i)] = x[best];
    dxWant[static_cast<size_t>(best)] += dy[i];
  }
  const auto pair = [](int64_t value) {
    return std::to_string(value) + "," + std::to_string(value);
  };
  const Attributes attributes{
      {"window", pair(window)}, {"stride", pair(stride)}, {"padding", pair(padding)}};
  run("max-pool", attributes, {x}, {y, index});
  compare("y", y, yWant, 0);
  run("max-pool", attributes, {x}, {inference});
  compare("y of inference", inference, yWant, 0);
  run("max-pool-backward", attributes, {dy, index}, {dx});
  compare("dx", dx, dxWant, type == DataType::bf16 ? 2e-2 : 1e-6);

  Tensor mean("y", type, {size.n, size.c});
  Tensor dMean = Tensor("dy", type, {size.n, size.c}).random();
  const double area = static_cast<double>(size.h * size.w);
  run("global-average-pool", {}, {x}, {mean});
  std::vector<double> meanWant(static_cast<size_t>(mean.count()));
  for (int64_t i = 0; i < x.count(); ++i) {
    const int64_t at = i / (size.h * size.w * size.c) * size.c + i % size.c;
    meanWant[static_cast<size_t>(at)] += x[i] / area;
    dxWant[static_cast<size_t>(i)] = dMean[at] / area;
  }
  compare("mean", mean, meanWant, 1e-5);
  run("global-average-pool-backward", {}, {dMean}, {dx});
  compare("dx of the mean", dx, dxWant, 1e-6);
}

void poolings() {
  for (DataType type : {DataType::f32, DataType::bf16}) {
    pooling(type, {2, 11, 13, 64}, 3, 2, 1);
    pooling(type, {1, 9, 8, 16}, 2, 2, 0);
    pooling(type, {2, 8, 7, 5}, 3, 2, 1);
    pooling(type, {1, 7, 7, 130}, 3, 1, 1);
  }
}

// ------------------------------------------------------------------------------------ elementwise

void elementwise() {
  for (DataType type : {DataType::f32, DataType::bf16}) {
    for (int64_t count : {int64_t{1}, int64_t{77}, int64_t{40003}}) {
      Tensor a = Tensor("a", type, {count}).random(), b = Tensor("b", type, {count}).random();
      Tensor y("y", type, {count});
      for (bool relu : {false, true}) {
        run("add", {{"relu", relu ? "1" : "0"}}, {a, b}, {y});
        std::vector<double> want;
        for (int64_t i = 0; i < count; ++i) want.push_back(a[i] + b[i]);
        if (relu) {
          for (double& value : want) value = std::max(value, 0.0);
        }
        compare("sum", y, want, 1e-6);
      }
      run("relu", {}, {a.as("x")}, {y});
      std::vector<double> want, back, converted;
      for (int64_t i = 0; i < count; ++i) {
        want.push_back(std::max(a[i], 0.0));
        back.push_back(a[i] > 0 ? b[i] : 0);
      }
      compare("relu", y, want, 0);
      Tensor dx("dx", type, {count});
      run("relu-backward", {}, {b.as("dy"), y}, {dx});
      compare("relu-backward", dx, back, 0);
      for (DataType other : {DataType::f32, DataType::bf16}) {
        Tensor copy("y", other, {count});
        run("copy", {}, {a.as("x")}, {copy});
        compare("copy", copy, a.values(), 0);
      }
    }
  }
  Tensor x = Tensor("x", DataType::f32, {5, 7}).random();
  std::vector<double> want = x.values();
  for (double& value : want) value *= 0.25;
  run("scale", {{"factor", "0.25"}}, {x}, {x.as("y")});
  compare("scaled in place", x, want, 1e-6);

  // bf16: ties to even, overflow to infinity, NaN kept, denormals.
  const std::pair<uint32_t, uint16_t> roundings[] = {
      {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x7f7fffff, 0x7f80},
      {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0x00008001, 0x0001},
      {0x80000000, 0x8000}, {0xffffffff, 0xffff}};
  Tensor from("x", DataType::f32, {std::size(roundings)});
  Tensor to("y", DataType::bf16, {std::size(roundings)});
  for (size_t i = 0; i < std::size(roundings); ++i) {
    from.operand().as<uint32_t>()[i] = roundings[i].first;
  }
  run("copy", {}, {from}, {to});
  for (size_t i = 0; i < std::size(roundings); ++i) {
    check(to.operand().as<uint16_t>()[i] == roundings[i].second,
          "bf16 rounding of case " + std::to_string(i));
  }
}

void normalizedInput() {
  for (DataType type : {DataType::f32, DataType::bf16}) {
    for (int64_t channels : {1, 3}) {
      for (int64_t padded : {channels, int64_t{4}}) {
        const int64_t n = 3, h = 5, w = 7;
        Tensor x("x", DataType::u8, {n, h, w, channels});
        x.fill([](int64_t) { return static_cast<double>(generator() % 256); });
        Tensor flip("flip", DataType::u8, {n});
        flip.fill([](int64_t i) { return i % 2 * 255; });
        Tensor y("y", type, {n, h, w, padded});
        const std::vector<double> mean{0.3, 0.4, 0.5}, std{0.2, 0.25, 0.3};
        const Attributes attributes{{"mean", channels == 1 ? "0.3" : "0.3,0.4,0.5"},
                                    {"std", channels == 1 ? "0.2" : "0.2,0.25,0.3"}};
        for (bool flips : {false, true}) {
          std::vector<Tensor> inputs{x};
          if (flips) inputs.push_back(flip);
          run("normalize-input", attributes, inputs, {y});
          std::vector<double> want;
          for (int64_t i = 0; i < y.count(); ++i) {
            const int64_t c = i % padded, column = i / padded % w, row = i / padded / w;
            if (c >= channels) {
              want.push_back(0);
              continue;
            }
            const bool mirrored = flips && flip[row / h] != 0;
            const int64_t source = mirrored ? w - 1 - column : column;
            const auto at = static_cast<size_t>(c);
            want.push_back((x[(row * w + source) * channels + c] / 255 - mean[at]) / std[at]);
          }
          compare("y", y, want, 1e-6);
        }
      }
    }
  }
  expectError("ERR_SHAPE", "values of mean and std", [] {
    prepare("normalize-input", {{"mean", "0.1"}, {"std", "0.1"}},
            {Tensor("x", DataType::u8, {1, 2, 2, 3})}, {Tensor("y", DataType::f32, {1, 2, 2, 3})});
  });
}

// ----------------------------------------------------------------------------------------- linear

void linear() {
  for (DataType type : {DataType::f32, DataType::bf16}) {
    for (const Shape& size : {Shape{5, 64, 10}, Shape{1, 7, 3}, Shape{16, 512, 1000}}) {
      const int64_t n = size[0], c = size[1], k = size[2];
      Tensor x = Tensor("x", type, {n, c}).random(), w = Tensor("w", type, {k, c}).random();
      Tensor b = vector("b", k).random(), dy = Tensor("dy", type, {n, k}).random();
      Tensor y("y", DataType::f32, {n, k}), dx("dx", type, {n, c});
      Tensor dw = Tensor("dw", DataType::f32, {k, c}).random(), db = vector("db", k).random();
      std::vector<double> yWant(static_cast<size_t>(n * k)), dxWant(static_cast<size_t>(n * c)),
          dwWant(static_cast<size_t>(k * c)), dbWant(static_cast<size_t>(k));
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < k; ++j) {
          double sum = b[j];
          for (int64_t l = 0; l < c; ++l) {
            sum += x[i * c + l] * w[j * c + l];
            dxWant[static_cast<size_t>(i * c + l)] += dy[i * k + j] * w[j * c + l];
            dwWant[static_cast<size_t>(j * c + l)] += dy[i * k + j] * x[i * c + l];
          }
          yWant[static_cast<size_t>(i * k + j)] = sum;
          dbWant[static_cast<size_t>(j)] += dy[i * k + j];
        }
      run("linear", {}, {x, w, b}, {y});
      compare("y", y, yWant, 1e-5);
      run("linear-backward-data", {}, {dy, w}, {dx});
      compare("dx", dx, dxWant, 1e-5);
      const std::vector<double> dwBefore = dw.values(), dbBefore = db.values();
      run("linear-backward-weight", {{"accumulate", "1"}}, {x, dy, dw, db}, {dw, db});
      std::vector<double> dwSum = dwWant, dbSum = dbWant;
      for (size_t i = 0; i < dwSum.size(); ++i) dwSum[i] += dwBefore[i];
      for (size_t i = 0; i < dbSum.size(); ++i) dbSum[i] += dbBefore[i];
      compare("accumulated dw", dw, dwSum, 1e-5);
      compare("accumulated db", db, dbSum, 1e-5);
      run("linear-backward-weight", {}, {x, dy}, {dw, db});
      compare("dw", dw, dwWant, 1e-5);
      compare("db", db, dbWant, 1e-5);
    }
  }
}

// ------------------------------------------------------------------------------------------- loss

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

// -------------------------------------------------------------------------------------- optimiser

void optimizer() {
  const int64_t count = 50007;
  const double rate = 0.3, momentum = 0.9, correction = 0.5;
  Tensor schedule = vector("schedule", 2);
  schedule.set(0, rate);
  schedule.set(1, correction);
  const std::vector<std::pair<int64_t, double>> segments{{1000, 1e-2}, {7, 0}, {49000, 1e-4}};
  std::string text;
  for (const auto& [length, decay] : segments) {
    text += (text.empty() ? "" : ",") + std::to_string(length) + ":" + std::to_string(decay);
  }
  for (bool velocity : {false, true})
    for (bool nesterov : {false, true})
      for (bool zero : {false, true})
        for (bool copies : {false, true}) {
          Tensor w = vector("w", count).random(), g = vector("g", count).random();
          Tensor v = vector("v", count).random(), finite = vector("finite", 1);
          Tensor copy("copy", DataType::bf16, {count});
          std::vector<double> wWant, vWant;
          const std::vector<double> gBefore = g.values();
          for (int64_t i = 0; i < count; ++i) {
            const double decay = i < 1000 ? 1e-2 : i < 1007 ? 0 : 1e-4;
            const double gradient = g[i] + decay * w[i];
            const double step = velocity ? rate * gradient : gradient;
            const double u = momentum * (velocity ? correction : 1) * v[i] + step;
            const double move = nesterov ? step + momentum * u : u;
            vWant.push_back(u);
            wWant.push_back(w[i] - (velocity ? 1 : rate) * move);
          }
          std::vector<Tensor> outputs{w, v, finite};
          if (zero) outputs.push_back(g);
          if (copies) outputs.push_back(copy);
          const Attributes attributes{{"form", velocity ? "velocity" : "gradient"},
                                      {"nesterov", nesterov ? "1" : "0"},
                                      {"momentum", "0.9"},
                                      {"segments", text},
                                      {"zero", zero ? "1" : "0"}};
          run("sgd", attributes, {w, g, v, schedule}, outputs);
          compare("w", w, wWant, 1e-6);
          compare("v", v, vWant, 1e-6);
          compare("g", g, zero ? std::vector<double>(gBefore.size()) : gBefore, 0);
          if (copies) {
            bool same = true;
            for (int64_t i = 0; i < count; ++i) {
              same = same && copy[i] == load(store<bf16>(static_cast<float>(w[i])));
            }
            check(same, "the copy differs from w in bf16");
          }
          check(finite[0] == 0, "finite gradients were counted");
          g.random();
          g.set(3, std::nan(""));
          g.set(30000, std::numeric_limits<double>::infinity());
          g.set(50006, -std::numeric_limits<double>::infinity());
          run("sgd", attributes, {w, g, v, schedule}, outputs);
          check(finite[0] == 3, "three gradients are not finite");
        }
  for (const char* bad : {"50006:0", "50007", "50007:0,", "0:0,50007:0", "-1:0,50008:0", "x:0"}) {
    Tensor w = vector("w", count), g = vector("g", count), v = vector("v", count);
    expectError("ERR_SHAPE", "segments", [&] {
      prepare("sgd",
              {{"form", "gradient"}, {"nesterov", "1"}, {"momentum", "0.9"}, {"segments", bad}},
              {w, g, v, schedule}, {w, v, vector("finite", 1)});
    });
  }
}

// ---------------------------------------------------------------------------------------- backend

void streams() {
  struct Body final : Kernel {
    explicit Body(std::function<void()> work) : work(std::move(work)) {}
    void run(Stream&) override { work(); }
    std::function<void()> work;
  };
  Backend& backend = *device->backend;
  std::atomic<int> value{0};
  Body first([&] {
    struct timespec pause {
      0, 20'000'000
    };
    nanosleep(&pause, nullptr);
    value = 1;
  });
  int seen = 0;
  Body second([&] { seen = value; });
  Body broken([] { throw Error("ERR_KERNEL", "test", "broken"); });
  const auto event = backend.createEvent(), poisoned = backend.createEvent();
  {
    const auto a = backend.createStream("compute"), b = backend.createStream("comm");
    for (uint64_t generation = 1; generation < 4; ++generation) {
      value = 0;
      seen = 0;
      backend.wait(*b, *event, generation);
      backend.launch(*b, second);
      backend.launch(*a, first);
      backend.signal(*a, *event, generation);
      backend.synchronize(*b);
      check(seen == 1, "a stream did not wait for the event");
    }
    char from[4] = "abc", to[4] = "";
    backend.copy(*a, to, from, 4);
    backend.synchronize(*a);
    check(std::strcmp(to, "abc") == 0, "copy");

    // An error stops the kernels of its stream and of streams that wait for it; callbacks get it.
    backend.launch(*a, broken);
    backend.signal(*a, *poisoned, 1);
    backend.wait(*b, *poisoned, 1);
    value = 5;
    backend.launch(*b, second);
    expectError("ERR_KERNEL", "broken", [&] { backend.synchronize(*b); });
    expectError("ERR_KERNEL", "broken", [&] { backend.synchronize(*a); });
    check(seen == 1, "a kernel ran after an error");
    // A stream that waits for ever ends with its owner.
    const auto c = backend.createStream("statistics");
    backend.wait(*c, *event, 1000);
  }
  const auto memory = backend.allocate(5'000'000, MemoryKind::device);
  check(reinterpret_cast<uintptr_t>(memory.get()) % 64 == 0, "alignment");
  bool zero = true;
  for (int i = 0; i < 5'000'000; ++i) zero = zero && static_cast<char*>(memory.get())[i] == 0;
  check(zero, "memory is not zeroed");
  expectError("ERR_MEMORY", "cannot allocate",
              [&] { backend.allocate(size_t{1} << 45, MemoryKind::device); });
  expectError("ERR_DEVICE", "at least one thread", [] { createCpuBackend(0); });
}

const std::map<std::string, void (*)()> tests{
    {"batch-norm", normalizations},
    {"batch-norm-finalize", mergedStatistics},
    {"conv2d", convolutions},
    {"elementwise", elementwise},
    {"linear", linear},
    {"normalize-input", normalizedInput},
    {"pool", poolings},
    {"sgd", optimizer},
    {"softmax", crossEntropy},
    {"streams", streams},
};

}  // namespace
}  // namespace onehour::cpu

// Arguments: names of tests, none for all.
int main(int count, char** arguments) {
  using namespace onehour::cpu;
  const InstructionSet best = instructionSet();
  for (int threads : {1, 3}) {
    for (InstructionSet set :
         {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512}) {
      if (set > best) continue;
      instructionSet() = set;
      Device opened(threads);
      device = &opened;
      for (const auto& [name, test] : tests) {
        bool chosen = count < 2;
        for (int i = 1; i < count; ++i) chosen = chosen || name == arguments[i];
        // oneDNN chooses its instructions itself.
        const bool ours = name != "conv2d" && name != "pool" && name != "linear";
        if (!chosen || (set != best && !ours)) continue;
        current = name + " (" + std::to_string(threads) + " threads, instruction set " +
                  std::to_string(static_cast<int>(set)) + ")";
        try {
          test();
        } catch (const std::exception& error) {
          fail(std::string("unexpected: ") + error.what());
        }
      }
    }
  }
  std::printf(failures == 0 ? "ok\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
