// Ops on channels: a bias, multiplication by one number an image and channel, concatenation and
// slices.
#include "../../core/ops/channels.h"
#include "../runtime/cuda.h"
#include "../tiling/column-sum.cuh"
#include "kernels.h"

namespace onehour::cuda {
namespace {

// ---------------------------------------------------------------------------------------- multiply
// Blocks that a multiprocessor holds at least: registers for them, else the compiler spills some to
// hold more.
constexpr int residentBlocks = 4;

template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads, residentBlocks)
    multiplyKernel(ColumnTiling tiling, const T* a, const T* b, T* y) {
  overColumns(
      tiling,
      [&](int64_t image, int64_t channel) {
        return Pack<T, lanes>::read(b + image * tiling.columns + channel);
      },
      [&](int64_t at, const Pack<T, lanes>& shared) {
        float factors[lanes];
        float values[lanes];
        shared.unpack(factors);
        Pack<T, lanes>::readOnce(a + at).unpack(values);
#pragma unroll
        for (int lane = 0; lane < lanes; ++lane) values[lane] *= factors[lane];
        Pack<T, lanes>::of(values).write(y + at);
      });
}

std::unique_ptr<Kernel> multiply(const Instruction& instruction, PrepareContext& context) {
  const Operand& a = instruction.input("a");
  const Operand& b = instruction.input("b");
  const Operand& y = instruction.output("y");
  return withLanes(a.type, {a.shape[3]}, {a.data, b.data, y.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = imageTiling(a, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), a = a.as<T>(), b = b.as<T>(),
         y = y.as<T>(), kernel = LoadedKernel(multiplyKernel<T, decltype(lanes)::value>)](
            Stream& stream) { launch(kernel, grid, blockOf(tiling), stream, tiling, a, b, y); });
  });
}

template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    multiplyBackwardKernel(ColumnTiling tiling, const T* dy, const T* a, T* db) {
  sumColumnsOf<lanes>(
      tiling,
      [&](int64_t at, float(&sums)[lanes]) {
        float gradients[lanes];
        float values[lanes];
        Pack<T, lanes>::readOnce(dy + at).unpack(gradients);
        Pack<T, lanes>::readOnce(a + at).unpack(values);
#pragma unroll
        for (int lane = 0; lane < lanes; ++lane) sums[lane] += gradients[lane] * values[lane];
      },
      [&](int64_t image, int64_t channel, float sum) {
        db[image * tiling.columns + channel] = store<T>(sum);
      });
}

std::unique_ptr<Kernel> multiplyBackward(const Instruction& instruction, PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& a = instruction.input("a");
  const Operand& db = instruction.output("db");
  return withLanes(a.type, {a.shape[3]}, {dy.data, a.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = imageTiling(a, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), dy = dy.as<T>(), a = a.as<T>(),
         db = db.as<T>(), kernel = LoadedKernel(multiplyBackwardKernel<T, decltype(lanes)::value>)](
            Stream& stream) { launch(kernel, grid, blockOf(tiling), stream, tiling, dy, a, db); });
  });
}

// ---------------------------------------------------------------------------------------- add-bias
template <int lanes>
struct Bias {
  float values[lanes];
};

template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    addBiasKernel(ColumnTiling tiling, const T* x, const float* b, T* y) {
  overColumns(
      tiling,
      [&](int64_t, int64_t channel) {
        Bias<lanes> bias;
#pragma unroll
        for (int lane = 0; lane < lanes; ++lane) bias.values[lane] = b[channel + lane];
        return bias;
      },
      [&](int64_t at, const Bias<lanes>& bias) {
        float values[lanes];
        Pack<T, lanes>::readOnce(x + at).unpack(values);
#pragma unroll
        for (int lane = 0; lane < lanes; ++lane) values[lane] += bias.values[lane];
        Pack<T, lanes>::of(values).write(y + at);
      });
}

std::unique_ptr<Kernel> addBias(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  return withLanes(x.type, {x.shape[3]}, {x.data, y.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = imageTiling(x, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), x = x.as<T>(),
         b = instruction.input("b").as<float>(), y = y.as<T>(),
         kernel = LoadedKernel(addBiasKernel<T, decltype(lanes)::value>)](Stream& stream) {
          launch(kernel, grid, blockOf(tiling), stream, tiling, x, b, y);
        });
  });
}

template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    imageSumsKernel(ColumnTiling tiling, const T* dy, float* sums) {
  sumColumns<lanes>(tiling, dy, [&](int64_t image, int64_t channel, float sum) {
    sums[image * tiling.columns + channel] = sum;
  });
}

// Adds up the images' sums in their order.
constexpr int biasThreads = 64;

__global__ void __launch_bounds__(biasThreads)
    biasSumKernel(int64_t images, int64_t channels, const float* sums, float* db, bool accumulate) {
  const int64_t channel = int64_t{blockIdx.x} * biasThreads + threadIdx.x;
  if (channel >= channels) return;
  float sum = accumulate ? db[channel] : 0;
  for (int64_t image = 0; image < images; ++image) sum += sums[image * channels + channel];
  db[channel] = sum;
}

std::unique_ptr<Kernel> addBiasBackward(const Instruction& instruction, PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  return withLanes(dy.type, {dy.shape[3]}, {dy.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = imageTiling(dy, lanes);
    const int64_t blocks = ceilDivide(tiling.columns, int64_t{biasThreads});
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)),
         last = dim3(static_cast<unsigned>(blocks)), dy = dy.as<T>(),
         db = instruction.output("db").as<float>(), accumulate = flag(instruction, "accumulate"),
         kernel = LoadedKernel(imageSumsKernel<T, decltype(lanes)::value>),
         lastKernel = LoadedKernel(biasSumKernel)](Stream& stream) {
          auto* const sums = static_cast<float*>(stream.workspace());
          launch(kernel, grid, blockOf(tiling), stream, tiling, dy, sums);
          launch(lastKernel, last, dim3(biasThreads), stream, tiling.groups, tiling.columns,
                 static_cast<const float*>(sums), db, accumulate);
        },
        static_cast<size_t>(tiling.groups * tiling.columns) * sizeof(float));
  });
}

// ------------------------------------------------------------------------- concatenate and slice
constexpr int copyThreads = 256;

// Columns of a matrix: `width` elements of each row, rows `fromPitch` and `toPitch` apart.
template <typename T>
struct Columns {
  const T* from;
  T* to;
  int64_t rows, width, fromPitch, toPitch;
};

template <typename T, int lanes>
__global__ void __launch_bounds__(copyThreads) copyColumnsKernel(Columns<T> columns) {
  const int64_t packs = columns.width / lanes;
  const int64_t step = int64_t{gridDim.x} * copyThreads;
  for (int64_t i = int64_t{blockIdx.x} * copyThreads + threadIdx.x; i < columns.rows * packs;
       i += step) {
    const int64_t row = i / packs;
    const int64_t column = (i - row * packs) * lanes;
    Pack<T, lanes>::readOnce(columns.from + row * columns.fromPitch + column)
        .write(columns.to + row * columns.toPitch + column);
  }
}

// A part of the channels of `from` to a part of those of `to`.
std::unique_ptr<Kernel> copyChannels(const Operand& from, int64_t fromOffset, const Operand& to,
                                     int64_t toOffset, int64_t width, PrepareContext& context) {
  return withLanes(
      from.type, {from.shape[3], to.shape[3], width, fromOffset, toOffset}, {from.data, to.data},
      [&](auto tag, auto lanes) -> std::unique_ptr<Kernel> {
        using T = decltype(tag);
        const Columns<T> columns{from.as<T>() + fromOffset,
                                 to.as<T>() + toOffset,
                                 pixelsOf(from),
                                 width,
                                 from.shape[3],
                                 to.shape[3]};
        const int64_t blocks = ceilDivide(columns.rows * width / lanes, int64_t{copyThreads});
        return makeKernel(
            [columns, grid = gridFor(blocks, traitsOf(context)),
             kernel = LoadedKernel(copyColumnsKernel<T, decltype(lanes)::value>)](Stream& stream) {
              launch(kernel, grid, dim3(copyThreads), stream, columns);
            });
      });
}

std::unique_ptr<Kernel> concatenate(const Instruction& instruction, PrepareContext& context) {
  expectConcatenation(instruction);
  const Operand& a = instruction.input("a");
  const Operand& b = instruction.input("b");
  const Operand& y = instruction.output("y");
  return makeKernel(
      [first = copyChannels(a, 0, y, 0, a.shape[3], context),
       second = copyChannels(b, 0, y, a.shape[3], b.shape[3], context)](Stream& stream) {
        first->run(stream);
        second->run(stream);
      });
}

std::unique_ptr<Kernel> slice(const Instruction& instruction, PrepareContext& context) {
  const Operand& y = instruction.output("y");
  return copyChannels(instruction.input("x"), sliceOffset(instruction), y, 0, y.shape[3], context);
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"add-bias", {"x:T[N,H,W,C] b:f32[C] -> y:T[N,H,W,C]", addBias}},
      {"add-bias-backward", {"dy:T[N,H,W,C] db?:f32[C] -> db:f32[C]", addBiasBackward, 2}},
      {"concatenate", {"a:T[N,H,W,C] b:T[N,H,W,D] -> y:T[N,H,W,E]", concatenate, 2}},
      {"multiply", {"a:T[N,H,W,C] b:T[N,C] -> y:T[N,H,W,C]", multiply}},
      {"multiply-backward", {"dy:T[N,H,W,C] a:T[N,H,W,C] -> db:T[N,C]", multiplyBackward}},
      {"slice", {"x:T[N,H,W,C] -> y:T[N,H,W,D]", slice}},
  };
});

}  // namespace

}  // namespace onehour::cuda
