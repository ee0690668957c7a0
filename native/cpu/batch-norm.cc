// Batch normalisation in the split form that a synchronised one needs: local statistics, their
// merge, the normalisation, and backward's two sums and gradient.
//
// Every pass streams over the tensor once. A tensor [M, C] is walked in blocks of `lanes` = j·C
// consecutive values, so that a narrow C still fills vectors; lane i belongs to channel i mod C.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "../core/error.h"
#include "check.h"
#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace onehour::cpu {
namespace {

// Longest run of values of one lane that is summed in fp32 before it goes to fp64.
constexpr int64_t tileRows = 128;

struct Layout {
  int64_t count;     // M·C values
  int64_t channels;  // C
  int64_t lanes;     // values of a block, a multiple of C

  int64_t rows() const { return count / channels; }
  int64_t copies() const { return lanes / channels; }
};

Layout layoutOf(const Operand& x) {
  const int64_t channels = x.shape.back();
  const int64_t copies = std::max<int64_t>(1, std::min<int64_t>(128 / channels, 64));
  return {x.count(), channels, copies * channels};
}

// A vector of C values repeated to the lanes.
void repeat(const Layout& layout, float* lanes) {
  for (int64_t i = layout.channels; i < layout.lanes; ++i) lanes[i] = lanes[i - layout.channels];
}

// The workspace of a kernel: arrays of floats and doubles, each on a cache line of its own.
class Scratch {
 public:
  explicit Scratch(void* memory) : memory_(reinterpret_cast<uintptr_t>(memory)) {}
  template <typename T>
  T* take(int64_t count) {
    T* result = reinterpret_cast<T*>(memory_ + used_);
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return result;
  }
  size_t used() const { return used_; }

 private:
  uintptr_t memory_;
  size_t used_ = 0;
};

// Sums of two quantities a lane: fp32 over a tile, fp64 over a thread's tiles.
struct Sums {
  float* tile[2];
  double* total[2];
};

struct SumScratch {
  std::vector<Sums> threads;
  SumScratch(Scratch& scratch, const Layout& layout, int threads_) : threads(threads_) {
    for (Sums& sums : threads) {
      for (int k : {0, 1}) sums.tile[k] = scratch.take<float>(layout.lanes);
      for (int k : {0, 1}) sums.total[k] = scratch.take<double>(layout.lanes);
    }
  }
};

// Runs `tile(first, count, sums)` over all tiles, which adds to the fp32 sums, and returns channel
// c's two totals through `done(c, first, second)`. The order of additions depends only on the
// layout and the number of threads.
template <typename Tile, typename Done>
void reduceTiles(const Layout& layout, const SumScratch& scratch, const Tile& tile,
                 const Done& done) {
  const int threads = static_cast<int>(scratch.threads.size());
  for (const Sums& sums : scratch.threads) {
    for (double* total : sums.total) std::fill_n(total, layout.lanes, 0.0);
  }
  parallelRanges(threads, layout.count, layout.lanes, [&](int thread, int64_t begin, int64_t end) {
    const Sums& sums = scratch.threads[thread];
    for (; begin < end; begin += tileRows * layout.lanes) {
      for (float* values : sums.tile) std::fill_n(values, layout.lanes, 0.0f);
      tile(begin, std::min(end - begin, tileRows * layout.lanes), sums);
      simd([sums, lanes = layout.lanes]() ONEHOUR_INLINE {
        for (int k = 0; k < 2; ++k) {
#pragma GCC ivdep
          for (int64_t i = 0; i < lanes; ++i) sums.total[k][i] += sums.tile[k][i];
        }
      });
    }
  });
  for (int64_t c = 0; c < layout.channels; ++c) {
    double totals[2] = {0, 0};
    for (const Sums& sums : scratch.threads) {
      for (int k = 0; k < 2; ++k) {
        for (int64_t i = c; i < layout.lanes; i += layout.channels) totals[k] += sums.total[k][i];
      }
    }
    done(c, totals[0], totals[1]);
  }
}

// Asks for the cache lines 8 KiB after a block. Loops that only read get up to twice the bandwidth
// this way; those that also write gain nothing.
template <typename T>
ONEHOUR_INLINE inline void prefetch(const T* block, int64_t count) {
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(64 / sizeof(T))) {
    __builtin_prefetch(reinterpret_cast<const char*>(block + i) + 8192);
  }
}

// Σ(x − pivot) and Σ(x − pivot)² of a tile. Four blocks at a time, so that the sums are loaded and
// stored once for four loads of x.
template <typename T>
void addMoments(const T* x, int64_t count, const float* pivot, const Sums& sums, int64_t lanes) {
  simd([x, count, pivot, sum = sums.tile[0], square = sums.tile[1], lanes]() ONEHOUR_INLINE {
    int64_t at = 0;
    for (; at + 4 * lanes <= count; at += 4 * lanes) {
      const T* x0 = x + at;
      const T* x1 = x0 + lanes;
      const T* x2 = x1 + lanes;
      const T* x3 = x2 + lanes;
      prefetch(x0, 4 * lanes);
#pragma GCC ivdep
      for (int64_t i = 0; i < lanes; ++i) {
        const float p = pivot[i];
        const float a = load(x0[i]) - p, b = load(x1[i]) - p;
        const float c = load(x2[i]) - p, d = load(x3[i]) - p;
        sum[i] += (a + b) + (c + d);
        square[i] += (a * a + b * b) + (c * c + d * d);
      }
    }
    for (; at < count; at += lanes) {
      const int64_t length = count - at < lanes ? count - at : lanes;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        const float a = load(x[at + i]) - pivot[i];
        sum[i] += a;
        square[i] += a * a;
      }
    }
  });
}

// A value near each channel's mean: the mean of up to 16 rows spread over the tensor.
template <typename T>
void findPivot(const T* x, const Layout& layout, float* pivot) {
  const int64_t rows = std::min<int64_t>(16, layout.rows());
  std::fill_n(pivot, layout.channels, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = x + layout.rows() * r / rows * layout.channels;
    for (int64_t c = 0; c < layout.channels; ++c) pivot[c] += load(row[c]);
  }
  for (int64_t c = 0; c < layout.channels; ++c) {
    pivot[c] /= static_cast<float>(rows);
    if (!std::isfinite(pivot[c])) pivot[c] = 0;  // the sums themselves say that x is not finite
  }
  repeat(layout, pivot);
}

struct StatisticsScratch {
  float* pivot;
  SumScratch sums;
  StatisticsScratch(Scratch& scratch, const Layout& layout, int threads)
      : pivot(scratch.take<float>(layout.lanes)), sums(scratch, layout, threads) {}
};

template <typename T>
void statisticsOf(const T* x, const Layout& layout, const StatisticsScratch& scratch,
                  float* statistics) {
  findPivot(x, layout, scratch.pivot);
  const double rows = static_cast<double>(layout.rows());
  reduceTiles(
      layout, scratch.sums,
      [&](int64_t first, int64_t count, const Sums& sums) {
        addMoments(x + first, count, scratch.pivot, sums, layout.lanes);
      },
      [&](int64_t c, double sum, double square) {
        statistics[c] = static_cast<float>(scratch.pivot[c] + sum / rows);
        const double m2 = square - sum * sum / rows;
        statistics[layout.channels + c] = static_cast<float>(m2 < 0 ? 0 : m2);
      });
  statistics[2 * layout.channels] = static_cast<float>(rows);
}

// Bytes that a constructor of scratch takes for these arguments.
template <typename Arrays>
size_t scratchBytes(const Layout& layout, int threads) {
  Scratch scratch(nullptr);
  Arrays(scratch, layout, threads);
  return scratch.used();
}

int maximalThreads(PrepareContext& context) { return context.backend.properties().threads; }

std::unique_ptr<Kernel> statistics(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = expectTensor(instruction, instruction.input("x"), 4);
  const Layout layout = layoutOf(x);
  const Operand& output = expect(instruction, instruction.output("statistics"), DataType::f32,
                                 {1, 2 * layout.channels + 1});
  return withType(x.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel(
        [layout, x = x.as<T>(), output = output.as<float>()](Stream& stream) {
          Scratch scratch(stream.workspace());
          statisticsOf(x, layout, StatisticsScratch(scratch, layout, threadsFor(layout.count)),
                       output);
        },
        scratchBytes<StatisticsScratch>(layout, maximalThreads(context)));
  });
}

// Merges the ranks' (mean, M2, count) in rank order (Chan, Golub and LeVeque's update, fp64).
std::unique_ptr<Kernel> finalize(const Instruction& instruction, PrepareContext&) {
  const Operand& all =
      expect(instruction, instruction.input("statistics"), DataType::f32, {-1, -1});
  const Operand& mean = expect(instruction, instruction.output("mean"), DataType::f32, {-1});
  const int64_t channels = mean.count();
  const int64_t ranks = all.shape[0];
  expect(instruction, all, DataType::f32, {ranks, 2 * channels + 1});
  const auto vector = [&](const Operand& operand) {
    return expect(instruction, operand, DataType::f32, {channels}).as<float>();
  };
  return makeKernel([channels, ranks, all = all.as<float>(), mean = mean.as<float>(),
                     inverseStd = vector(instruction.output("inverse-std")),
                     oldMean = vector(instruction.input("running-mean")),
                     oldVariance = vector(instruction.input("running-variance")),
                     newMean = vector(instruction.output("running-mean")),
                     newVariance = vector(instruction.output("running-variance")),
                     epsilon = instruction.number("epsilon"), decay = instruction.number("decay"),
                     gain = instruction.number("gain")](Stream&) {
    const int64_t width = 2 * channels + 1;
    for (int64_t c = 0; c < channels; ++c) {
      double count = all[2 * channels];
      double average = all[c];
      double m2 = all[channels + c];
      for (int64_t r = 1; r < ranks; ++r) {
        const float* other = all + r * width;
        const double otherCount = other[2 * channels];
        const double sum = count + otherCount;
        if (!(sum > 0)) continue;
        const double delta = other[c] - average;
        average += delta * otherCount / sum;
        m2 += other[channels + c] + delta * delta * count * otherCount / sum;
        count = sum;
      }
      mean[c] = static_cast<float>(average);
      inverseStd[c] = static_cast<float>(1 / std::sqrt(m2 / count + epsilon));
      newMean[c] = static_cast<float>(decay * oldMean[c] + gain * average);
      newVariance[c] =
          static_cast<float>(decay * oldVariance[c] + gain * (m2 / std::max(count - 1, 1.0)));
    }
  });
}

// y before the residual and ReLU. Backward recomputes its sign, so forward and backward share this
// expression: a subtraction and one explicit fma, which no compiler contracts further.
ONEHOUR_INLINE inline float normalized(float x, float mean, float scale, float beta) {
  return std::fma(x - mean, scale, beta);
}

// The vectors of a normalisation, repeated to the lanes; scale = γ / σ.
struct AffineScratch {
  float* mean;
  float* scale;
  float* beta;
  AffineScratch(Scratch& scratch, const Layout& layout, int = 0)
      : mean(scratch.take<float>(layout.lanes)),
        scale(scratch.take<float>(layout.lanes)),
        beta(scratch.take<float>(layout.lanes)) {}
};

struct Affine {
  const float* mean;
  const float* inverseStd;
  const float* gamma;  // nullptr: 1
  const float* beta;   // nullptr: 0

  void fill(const Layout& layout, const AffineScratch& to) const {
    for (int64_t c = 0; c < layout.channels; ++c) {
      to.mean[c] = mean[c];
      to.scale[c] = (gamma == nullptr ? 1.0f : gamma[c]) * inverseStd[c];
      to.beta[c] = beta == nullptr ? 0.0f : beta[c];
    }
    for (float* values : {to.mean, to.scale, to.beta}) repeat(layout, values);
  }
};

template <typename T, bool relu, bool residual>
void applyRange(const T* x, const T* z, T* y, int64_t count, const AffineScratch& affine,
                int64_t lanes) {
  simd([=, mean = affine.mean, scale = affine.scale, beta = affine.beta]() ONEHOUR_INLINE {
    for (int64_t at = 0; at < count; at += lanes) {
      const int64_t length = count - at < lanes ? count - at : lanes;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        float value = normalized(load(x[at + i]), mean[i], scale[i], beta[i]);
        if constexpr (residual) value += load(z[at + i]);
        if constexpr (relu) value = value < 0 ? 0.0f : value;
        y[at + i] = store<T>(value);
      }
    }
  });
}

std::unique_ptr<Kernel> makeApply(const Instruction& instruction, const Operand& x,
                                  const Operand* residual, const Operand& y, auto fill) {
  const Layout layout = layoutOf(x);
  return withType(x.type, [&](auto tag) {
    using T = decltype(tag);
    return withFlag(flag(instruction, "relu"), [&](auto relu) {
      return withFlag(residual != nullptr, [&](auto hasResidual) {
        return makeKernel(
            [layout, fill, x = x.as<T>(), y = y.as<T>(),
             z = residual == nullptr ? nullptr : residual->as<T>()](Stream& stream) {
              Scratch scratch(stream.workspace());
              const AffineScratch affine(scratch, layout);
              fill(layout, affine);
              parallelRanges(threadsFor(layout.count), layout.count, layout.lanes,
                             [&](int, int64_t begin, int64_t end) {
                               applyRange<T, decltype(relu)::value, decltype(hasResidual)::value>(
                                   x + begin, z + begin, y + begin, end - begin, affine,
                                   layout.lanes);
                             });
            },
            scratchBytes<AffineScratch>(layout, 1));
      });
    });
  });
}

const float* channelVector(const Instruction& instruction, const Operand& x, const char* name) {
  return expect(instruction, instruction.input(name), DataType::f32, {x.shape.back()}).as<float>();
}

const float* optionalVector(const Instruction& instruction, const Operand& x, const char* name) {
  return instruction.findInput(name) == nullptr ? nullptr : channelVector(instruction, x, name);
}

std::unique_ptr<Kernel> apply(const Instruction& instruction, PrepareContext&) {
  const Operand& x = expectTensor(instruction, instruction.input("x"), 4);
  const Operand* residual =
      expectOptional(instruction, instruction.findInput("residual"), x.type, x.shape);
  const Operand& y = expect(instruction, instruction.output("y"), x.type, x.shape);
  const Affine affine{
      channelVector(instruction, x, "mean"), channelVector(instruction, x, "inverse-std"),
      channelVector(instruction, x, "gamma"), channelVector(instruction, x, "beta")};
  return makeApply(
      instruction, x, residual, y,
      [affine](const Layout& layout, const AffineScratch& to) { affine.fill(layout, to); });
}

std::unique_ptr<Kernel> inference(const Instruction& instruction, PrepareContext&) {
  const Operand& x = expectTensor(instruction, instruction.input("x"), 4);
  const Operand* residual =
      expectOptional(instruction, instruction.findInput("residual"), x.type, x.shape);
  const Operand& y = expect(instruction, instruction.output("y"), x.type, x.shape);
  return makeApply(
      instruction, x, residual, y,
      [mean = channelVector(instruction, x, "running-mean"),
       variance = channelVector(instruction, x, "running-variance"),
       gamma = channelVector(instruction, x, "gamma"), beta = channelVector(instruction, x, "beta"),
       epsilon = instruction.number("epsilon")](const Layout& layout, const AffineScratch& to) {
        for (int64_t c = 0; c < layout.channels; ++c) {
          to.mean[c] = mean[c];
          to.scale[c] = static_cast<float>(gamma[c] / std::sqrt(variance[c] + epsilon));
          to.beta[c] = beta[c];
        }
        for (float* values : {to.mean, to.scale, to.beta}) repeat(layout, values);
      });
}

// Where backward's ReLU mask comes from.
enum class Mask { none, output, recomputed };

struct ReduceScratch {
  AffineScratch affine;
  SumScratch sums;
  ReduceScratch(Scratch& scratch, const Layout& layout, int threads)
      : affine(scratch, layout), sums(scratch, layout, threads) {}
};

template <typename T>
struct ReduceInputs {
  const T* dy;
  const T* dy2;  // nullptr: none
  const T* x;
  const T* y;  // with Mask::output
  T* dz;       // nullptr: not wanted
};

// Σdz and Σdz·(x − mean) of a tile; writes dz when it is wanted.
template <typename T, Mask mask, bool second, bool writes>
void addGradients(const ReduceInputs<T>& in, int64_t first, int64_t count,
                  const AffineScratch& affine, const Sums& sums, int64_t lanes) {
  simd([in, first, count, mean = affine.mean, scale = affine.scale, beta = affine.beta,
        sum = sums.tile[0], product = sums.tile[1], lanes]() ONEHOUR_INLINE {
    for (int64_t at = first; at < first + count; at += lanes) {
      const int64_t left = first + count - at;
      const int64_t length = left < lanes ? left : lanes;
      const T* dy = in.dy + at;
      const T* dy2 = in.dy2 + (second ? at : 0);
      const T* x = in.x + at;
      const T* y = in.y + (mask == Mask::output ? at : 0);
      T* dz = in.dz + (writes ? at : 0);
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        float gradient = load(dy[i]);
        if constexpr (second) gradient += load(dy2[i]);
        const float value = load(x[i]);
        if constexpr (mask == Mask::output) gradient = load(y[i]) > 0 ? gradient : 0.0f;
        if constexpr (mask == Mask::recomputed) {
          gradient = normalized(value, mean[i], scale[i], beta[i]) > 0 ? gradient : 0.0f;
        }
        if constexpr (writes) dz[i] = store<T>(gradient);
        sum[i] += gradient;
        product[i] += gradient * (value - mean[i]);
      }
    }
  });
}

template <typename T>
using AddGradients = void (*)(const ReduceInputs<T>&, int64_t, int64_t, const AffineScratch&,
                              const Sums&, int64_t);

template <typename T>
AddGradients<T> selectAddGradients(Mask mask, bool second, bool writes) {
  return withFlag(second, [&](auto secondTag) {
    return withFlag(writes, [&](auto writesTag) -> AddGradients<T> {
      constexpr bool two = decltype(secondTag)::value;
      constexpr bool stores = decltype(writesTag)::value;
      switch (mask) {
        case Mask::output:
          return addGradients<T, Mask::output, two, stores>;
        case Mask::recomputed:
          return addGradients<T, Mask::recomputed, two, stores>;
        default:
          return addGradients<T, Mask::none, two, stores>;
      }
    });
  });
}

std::unique_ptr<Kernel> reduce(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = expectTensor(instruction, instruction.input("x"), 4);
  const Operand& dy = expect(instruction, instruction.input("dy"), x.type, x.shape);
  const auto tensor = [&](const Operand* operand) {
    return expectOptional(instruction, operand, x.type, x.shape);
  };
  const Operand* dy2 = tensor(instruction.findInput("dy2"));
  const Operand* dz = tensor(instruction.findOutput("dz"));
  const bool relu = flag(instruction, "relu");
  const Operand* y = relu ? tensor(instruction.findInput("y")) : nullptr;
  const Mask mask = !relu ? Mask::none : y != nullptr ? Mask::output : Mask::recomputed;
  const Layout layout = layoutOf(x);
  const int64_t channels = layout.channels;
  Affine affine{channelVector(instruction, x, "mean"), channelVector(instruction, x, "inverse-std"),
                optionalVector(instruction, x, "gamma"), optionalVector(instruction, x, "beta")};
  if (mask == Mask::recomputed) {
    channelVector(instruction, x, "gamma");
    channelVector(instruction, x, "beta");
  }
  const auto output = [&](const char* name, int64_t count) {
    return expect(instruction, instruction.output(name), DataType::f32, {count}).as<float>();
  };
  return withType(x.type, [&](auto tag) {
    using T = decltype(tag);
    const auto data = [](const Operand* operand) {
      return operand == nullptr ? nullptr : operand->as<T>();
    };
    const ReduceInputs<T> in{dy.as<T>(), data(dy2), x.as<T>(), data(y), data(dz)};
    return makeKernel(
        [=, add = selectAddGradients<T>(mask, dy2 != nullptr, dz != nullptr),
         sums = output("sums", 2 * channels), dgamma = output("dgamma", channels),
         dbeta = output("dbeta", channels),
         accumulate = flag(instruction, "accumulate")](Stream& stream) {
          Scratch memory(stream.workspace());
          const ReduceScratch scratch(memory, layout, threadsFor(layout.count));
          affine.fill(layout, scratch.affine);
          reduceTiles(
              layout, scratch.sums,
              [&](int64_t first, int64_t count, const Sums& to) {
                add(in, first, count, scratch.affine, to, layout.lanes);
              },
              [&](int64_t c, double sum, double product) {
                const float db = static_cast<float>(sum);
                const float dg = static_cast<float>(product * affine.inverseStd[c]);
                sums[c] = db;
                sums[channels + c] = dg;
                dbeta[c] = accumulate ? dbeta[c] + db : db;
                dgamma[c] = accumulate ? dgamma[c] + dg : dg;
              });
        },
        scratchBytes<ReduceScratch>(layout, maximalThreads(context)));
  });
}

// dx = scale·dz + slope·(x − mean) + offset, repeated to the lanes.
struct BackwardScratch {
  AffineScratch affine;
  float* slope;
  float* offset;
  BackwardScratch(Scratch& scratch, const Layout& layout, int = 0)
      : affine(scratch, layout),
        slope(scratch.take<float>(layout.lanes)),
        offset(scratch.take<float>(layout.lanes)) {}
};

template <typename T, bool relu>
void backwardRange(const T* dz, const T* x, T* dx, int64_t count, const BackwardScratch& scratch,
                   int64_t lanes) {
  simd([=, mean = scratch.affine.mean, scale = scratch.affine.scale, beta = scratch.affine.beta,
        slope = scratch.slope, offset = scratch.offset]() ONEHOUR_INLINE {
    for (int64_t at = 0; at < count; at += lanes) {
      const int64_t length = count - at < lanes ? count - at : lanes;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        const float value = load(x[at + i]);
        float gradient = load(dz[at + i]);
        if constexpr (relu) {
          gradient = normalized(value, mean[i], scale[i], beta[i]) > 0 ? gradient : 0.0f;
        }
        dx[at + i] =
            store<T>(std::fma(scale[i], gradient, std::fma(slope[i], value - mean[i], offset[i])));
      }
    }
  });
}

std::unique_ptr<Kernel> backward(const Instruction& instruction, PrepareContext&) {
  const Operand& x = expectTensor(instruction, instruction.input("x"), 4);
  const Operand& dz = expect(instruction, instruction.input("dz"), x.type, x.shape);
  const Operand& dx = expect(instruction, instruction.output("dx"), x.type, x.shape);
  const Layout layout = layoutOf(x);
  const bool relu = flag(instruction, "relu");
  const Affine affine{
      channelVector(instruction, x, "mean"), channelVector(instruction, x, "inverse-std"),
      channelVector(instruction, x, "gamma"),
      relu ? channelVector(instruction, x, "beta") : optionalVector(instruction, x, "beta")};
  const float* sums =
      expect(instruction, instruction.input("sums"), DataType::f32, {2 * layout.channels})
          .as<float>();
  const double rows = instruction.number("count");  // M of the whole group of ranks
  return withType(x.type, [&](auto tag) {
    using T = decltype(tag);
    return withFlag(relu, [&](auto reluTag) {
      return makeKernel(
          [layout, affine, sums, rows, dz = dz.as<T>(), x = x.as<T>(),
           dx = dx.as<T>()](Stream& stream) {
            Scratch memory(stream.workspace());
            const BackwardScratch scratch(memory, layout);
            affine.fill(layout, scratch.affine);
            for (int64_t c = 0; c < layout.channels; ++c) {
              const double scale = scratch.affine.scale[c];
              scratch.offset[c] = static_cast<float>(-scale * sums[c] / rows);
              scratch.slope[c] = static_cast<float>(-scale * affine.inverseStd[c] *
                                                    sums[layout.channels + c] / rows);
            }
            repeat(layout, scratch.slope);
            repeat(layout, scratch.offset);
            parallelRanges(threadsFor(layout.count), layout.count, layout.lanes,
                           [&](int, int64_t begin, int64_t end) {
                             backwardRange<T, decltype(reluTag)::value>(dz + begin, x + begin,
                                                                        dx + begin, end - begin,
                                                                        scratch, layout.lanes);
                           });
          },
          scratchBytes<BackwardScratch>(layout, 1));
    });
  });
}

}  // namespace

const KernelTable& batchNormKernels() {
  static const KernelTable table{
      {"batch-norm-apply", apply},       {"batch-norm-backward", backward},
      {"batch-norm-finalize", finalize}, {"batch-norm-inference", inference},
      {"batch-norm-reduce", reduce},     {"batch-norm-statistics", statistics},
  };
  return table;
}

}  // namespace onehour::cpu
