// Batch normalisation backward, in the split form that a synchronised one needs: its two sums, and
// the gradient that they give.
#include <cmath>

#include "batch-norm.h"
#include "check.h"
#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace onehour::cpu {
namespace {

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

const KernelTable& batchNormBackwardKernels() {
  static const KernelTable table{
      {"batch-norm-backward", backward},
      {"batch-norm-reduce", reduce},
  };
  return table;
}

}  // namespace onehour::cpu
