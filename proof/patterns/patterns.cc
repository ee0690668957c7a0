// A prologue is batch norm's scale and bias with ReLU, on the images as they are read; sums are
// batch norm's: Σy and Σy² forward, Σdz and Σdz·x̂ of the gradient behind ReLU.
#include "patterns.h"

#include <numeric>
#include <utility>

#include "../../native/cuda/cudnn/graph-builder.h"

namespace onehour::cuda {
namespace {

class PatternBuilder {
 public:
  PatternBuilder(const std::string& name, const Convolution& problem)
      : problem_(problem),
        result_{
            {name, name, problem.type == DataType::f16 ? Arithmetic::fp16 : Arithmetic::bf16, {}},
            {}},
        build_(result_.graph) {}

  const Descriptor& image(bool isVirtual = false) {
    const auto& [n, h, w, c, k, r, s, p, q, stride, padding, dilation, groups, type] = problem_;
    return tensor(typeOf(type), {n, c, h, w}, isVirtual);
  }
  // Of the extents of the images, between operations alone.
  const Descriptor& exact() {
    return tensor(CUDNN_DATA_FLOAT, {problem_.n, problem_.c, problem_.h, problem_.w}, true);
  }
  const Descriptor& result(bool isVirtual = false) {
    return tensor(typeOf(problem_.type), {problem_.n, problem_.k, problem_.p, problem_.q},
                  isVirtual);
  }
  const Descriptor& filter() {
    return tensor(typeOf(problem_.type), {problem_.k, problem_.c, problem_.r, problem_.s});
  }
  const Descriptor& channels(int64_t count, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    return tensor(type, {1, count, 1, 1});
  }

  void convolve(Pattern pattern, const Descriptor& x, const Descriptor& w, const Descriptor& y) {
    build_.convolve(pattern, problem_, x, w, y);
  }
  const Descriptor& pointwise(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor& b,
                              const Descriptor& result) {
    build_.pointwise(mode, a, &b, result);
    return result;
  }

  // relu(x·scale + bias), not written.
  const Descriptor& prologue(cudnnDataType_t scales = CUDNN_DATA_FLOAT) {
    const Descriptor& scaled =
        pointwise(CUDNN_POINTWISE_MUL, image(), channels(problem_.c, scales), image(true));
    const Descriptor& shifted =
        pointwise(CUDNN_POINTWISE_ADD, scaled, channels(problem_.c, scales), image(true));
    const Descriptor& result = image(true);
    build_.pointwise(CUDNN_POINTWISE_RELU_FWD, shifted, nullptr, result);
    return result;
  }

  void statistics(const Descriptor& y, bool repeats) {
    const Descriptor& square =
        tensor(CUDNN_DATA_FLOAT, {problem_.n, problem_.k, problem_.p, problem_.q}, true);
    build_.pointwise(CUDNN_POINTWISE_MUL, y, &y, square);
    build_.sum(y, channels(problem_.k), repeats);
    build_.sum(square, channels(problem_.k), repeats);
  }

  // The same by the operation that the precompiled engines know.
  void generatedStatistics(const Descriptor& y) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_GENSTATS_SUM_SQSUM)
        .set(CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_DATA_FLOAT)
        .set(CUDNN_ATTR_OPERATION_GENSTATS_XDESC, y)
        .set(CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, channels(problem_.k))
        .set(CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, channels(problem_.k));
    build_.add(std::move(operation));
  }

  // dz = dx where ReLU let x̂·scale + bias pass, Σdz and Σdz·x̂: x̂ from the input of batch norm.
  void maskAndSums(const Descriptor& dx, bool repeats) {
    const Descriptor& centered =
        pointwise(CUDNN_POINTWISE_SUB, image(), channels(problem_.c), exact());
    const Descriptor& normalized =
        pointwise(CUDNN_POINTWISE_MUL, centered, channels(problem_.c), exact());
    const Descriptor& scaled =
        pointwise(CUDNN_POINTWISE_MUL, normalized, channels(problem_.c), exact());
    const Descriptor& active =
        pointwise(CUDNN_POINTWISE_ADD, scaled, channels(problem_.c), exact());
    const Descriptor& dz = image();
    build_.reluGradient(dx, active, dz);
    const Descriptor& product = pointwise(CUDNN_POINTWISE_MUL, dz, normalized, exact());
    build_.sum(dz, channels(problem_.c), repeats);
    build_.sum(product, channels(problem_.c), repeats);
  }

  // The same by the operation that the precompiled engine knows, with what it makes for the next.
  void maskAndWeights(const Descriptor& dx) {
    const int64_t c = problem_.c;
    const Descriptor& x = image();
    const Descriptor &mean = channels(c), &inverse = channels(c), &scale = channels(c);
    const Descriptor& centered = pointwise(CUDNN_POINTWISE_SUB, x, mean, image(true));
    const Descriptor& normalized = pointwise(CUDNN_POINTWISE_MUL, centered, inverse, image(true));
    const Descriptor& scaled = pointwise(CUDNN_POINTWISE_MUL, normalized, scale, image(true));
    const Descriptor& active = pointwise(CUDNN_POINTWISE_ADD, scaled, channels(c), image(true));
    const Descriptor& dz = image();
    build_.reluGradient(dx, active, dz);
    Descriptor operation(CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MATH_PREC, CUDNN_DATA_FLOAT)
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, mean)
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, inverse)
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, scale)
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, x)
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, dz)
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, channels(c))
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC, channels(c))
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC, channels(c))
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC, channels(c))
        .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS, channels(c));
    build_.add(std::move(operation));
  }

  PatternGraph finish(const Target& target) {
    build_.finish(target);
    return std::move(result_);
  }

 private:
  const Descriptor& tensor(cudnnDataType_t type, const GraphBuilder::Extents& extents,
                           bool isVirtual = false) {
    const int64_t id = ++ids_;
    if (!isVirtual) {
      const int64_t elements =
          std::accumulate(extents.begin(), extents.end(), int64_t{1}, std::multiplies<>());
      result_.operands.push_back(
          {id, static_cast<size_t>(elements) * (type == CUDNN_DATA_FLOAT ? 4 : 2)});
    }
    return build_.tensor(id, type, extents, isVirtual);
  }

  const Convolution& problem_;
  PatternGraph result_;
  GraphBuilder build_;
  int64_t ids_ = 0;
};

using Engine = ConvPattern::Engine;

// A pattern by what it adds to a builder.
ConvPattern pattern(const std::string& name, Engine engine, bool usesInput,
                    const std::function<void(PatternBuilder&)>& add) {
  return {name, engine, usesInput, [name, add](const Target& target, const Convolution& problem) {
            PatternBuilder build(name, problem);
            add(build);
            return build.finish(target);
          }};
}

// Sums whose bits repeat, and, by a second name, those that may not.
std::string ordered(const std::string& name, bool repeats) {
  return name + (repeats ? "" : " in any order");
}

std::vector<ConvPattern> withSums(bool repeats) {
  return {pattern(ordered("forward + sums", repeats), Engine::compiled, false,
                  [=](PatternBuilder& build) {
                    const Descriptor& y = build.result();
                    build.convolve(Pattern::forward, build.image(), build.filter(), y);
                    build.statistics(y, repeats);
                  }),
          pattern(ordered("prologue + forward + sums", repeats), Engine::compiled, true,
                  [=](PatternBuilder& build) {
                    const Descriptor& y = build.result();
                    build.convolve(Pattern::forward, build.prologue(), build.filter(), y);
                    build.statistics(y, repeats);
                  }),
          pattern(ordered("gradient of images + ReLU + sums", repeats), Engine::compiled, true,
                  [=](PatternBuilder& build) {
                    const Descriptor& dx = build.image(true);
                    build.convolve(Pattern::backwardData, dx, build.filter(), build.result());
                    build.maskAndSums(dx, repeats);
                  })};
}

}  // namespace

size_t PatternGraph::bytes() const {
  size_t sum = 0;
  for (const Operand& operand : operands) sum += operand.bytes;
  return sum;
}

const std::vector<ConvPattern>& convPatterns() {
  static const std::vector<ConvPattern> all = [] {
    std::vector<ConvPattern> patterns{
        pattern("forward", Engine::present, false,
                [](PatternBuilder& build) {
                  build.convolve(Pattern::forward, build.image(), build.filter(), build.result());
                }),
        pattern("gradient of images", Engine::present, true,
                [](PatternBuilder& build) {
                  build.convolve(Pattern::backwardData, build.image(), build.filter(),
                                 build.result());
                }),
        pattern("gradient of filters", Engine::present, false,
                [](PatternBuilder& build) {
                  build.convolve(Pattern::backwardWeight, build.image(), build.filter(),
                                 build.result());
                }),
        pattern("chain: forward + sums", Engine::chain, false,
                [](PatternBuilder& build) {
                  const Descriptor& y = build.result();
                  build.convolve(Pattern::forward, build.image(), build.filter(), y);
                  build.generatedStatistics(y);
                }),
        pattern("chain: prologue + forward + sums", Engine::chain, true,
                [](PatternBuilder& build) {
                  const Descriptor& y = build.result();
                  const Descriptor& x = build.prologue(CUDNN_DATA_HALF);
                  build.convolve(Pattern::forward, x, build.filter(), y);
                  build.generatedStatistics(y);
                }),
        pattern("chain: prologue + gradient of filters", Engine::chain, true,
                [](PatternBuilder& build) {
                  build.convolve(Pattern::backwardWeight, build.prologue(CUDNN_DATA_HALF),
                                 build.filter(), build.result());
                }),
        pattern("chain: gradient of images + ReLU + sums", Engine::chain, true,
                [](PatternBuilder& build) {
                  const Descriptor& dx = build.image(true);
                  build.convolve(Pattern::backwardData, dx, build.filter(), build.result());
                  build.maskAndWeights(dx);
                }),
        pattern("prologue + forward", Engine::compiled, true,
                [](PatternBuilder& build) {
                  build.convolve(Pattern::forward, build.prologue(), build.filter(),
                                 build.result());
                }),
        pattern("prologue + gradient of filters", Engine::compiled, true,
                [](PatternBuilder& build) {
                  build.convolve(Pattern::backwardWeight, build.prologue(), build.filter(),
                                 build.result());
                }),
    };
    for (const bool repeats : {true, false}) {
      for (ConvPattern& sums : withSums(repeats)) patterns.push_back(std::move(sums));
    }
    return patterns;
  }();
  return all;
}

}  // namespace onehour::cuda
