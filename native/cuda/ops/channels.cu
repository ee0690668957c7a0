// Ops on channels: a bias, multiplication by one number an image and channel, concatenation and
// slices.
#include <initializer_list>
#include <type_traits>

#include "../../core/ops/channels.h"
#include "../runtime/cuda.h"
#include "../tiling/column-sum.cuh"
#include "../tiling/lanes.cuh"
#include "kernels.h"

namespace onehour::cuda {
namespace {

// Calls `body` with the element type and its lanes: as many as 16 bytes hold where every row of
// every tensor allows them, else 1.
template <typename Body>
auto withChannelLanes(DataType type, std::initializer_list<int64_t> extents,
                      std::initializer_list<const void*> addresses, Body&& body) {
  return withType(type, [&](auto tag) {
    using T = decltype(tag);
    constexpr int most = static_cast<int>(lanesOf<T>);
    bool wide = true;
    for (const int64_t extent : extents) wide = wide && extent % most == 0;
    for (const void* address : addresses) {
      wide = wide && dividesInto(most, 0, static_cast<const T*>(address));
    }
    return wide ? body(tag, std::integral_constant<int, most>{})
                : body(tag, std::integral_constant<int, 1>{});
  });
}

// A matrix an image, its pixels by its channels.
ColumnTiling imageTiling(const Operand& images, int lanes) {
  return columnTiling(images.shape[0], images.shape[1] * images.shape[2], images.shape[3], lanes);
}

// ---------------------------------------------------------------------------------------- multiply
template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    multiplyKernel(ColumnTiling tiling, const T* a, const T* b, T* y) {
  for (int64_t block = blockIdx.x; block < tiling.blocks(); block += gridDim.x) {
    const int64_t image = tiling.groupOf(block);
    const int64_t channel = tiling.columnOf(block, static_cast<int>(threadIdx.x));
    if (channel >= tiling.columns) continue;
    const auto factors = Lanes<T, lanes>::read(b + image * tiling.columns + channel);
    for (int64_t pixel = threadIdx.y; pixel < tiling.rows; pixel += tiling.slices) {
      const int64_t at = tiling.elementOf(image, pixel, channel);
      auto pack = Lanes<T, lanes>::readOnce(a + at);
#pragma unroll
      for (int lane = 0; lane < lanes; ++lane) {
        pack.values[lane] = store<T>(load(pack.values[lane]) * load(factors.values[lane]));
      }
      pack.write(y + at);
    }
  }
}

std::unique_ptr<Kernel> multiply(const Instruction& instruction, PrepareContext& context) {
  const Operand& a = instruction.input("a");
  const Operand& b = instruction.input("b");
  const Operand& y = instruction.output("y");
  return withChannelLanes(
      a.type, {a.shape[3]}, {a.data, b.data, y.data}, [&](auto tag, auto lanes) {
        using T = decltype(tag);
        const ColumnTiling tiling = imageTiling(a, lanes);
        return makeKernel(
            [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), a = a.as<T>(),
             b = b.as<T>(), y = y.as<T>(),
             kernel = LoadedKernel(multiplyKernel<T, decltype(lanes)::value>)](Stream& stream) {
              launch(kernel, grid, blockOf(tiling), 0, stream, tiling, a, b, y);
            });
      });
}

template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    multiplyBackwardKernel(ColumnTiling tiling, const T* dy, const T* a, T* db) {
  sumColumnsOf<lanes>(
      tiling,
      [&](int64_t at, float(&sums)[lanes]) {
        const auto gradients = Lanes<T, lanes>::readOnce(dy + at);
        const auto values = Lanes<T, lanes>::readOnce(a + at);
#pragma unroll
        for (int lane = 0; lane < lanes; ++lane) {
          sums[lane] += load(gradients.values[lane]) * load(values.values[lane]);
        }
      },
      [&](int64_t image, int64_t channel, float sum) {
        db[image * tiling.columns + channel] = store<T>(sum);
      });
}

std::unique_ptr<Kernel> multiplyBackward(const Instruction& instruction, PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& a = instruction.input("a");
  const Operand& db = instruction.output("db");
  return withChannelLanes(a.type, {a.shape[3]}, {dy.data, a.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = imageTiling(a, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), dy = dy.as<T>(), a = a.as<T>(),
         db = db.as<T>(),
         kernel = LoadedKernel(multiplyBackwardKernel<T, decltype(lanes)::value>)](Stream& stream) {
          launch(kernel, grid, blockOf(tiling), 0, stream, tiling, dy, a, db);
        });
  });
}

// ---------------------------------------------------------------------------------------- add-bias
template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    addBiasKernel(ColumnTiling tiling, const T* x, const float* b, T* y) {
  for (int64_t block = blockIdx.x; block < tiling.blocks(); block += gridDim.x) {
    const int64_t image = tiling.groupOf(block);
    const int64_t channel = tiling.columnOf(block, static_cast<int>(threadIdx.x));
    if (channel >= tiling.columns) continue;
    float bias[lanes];
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) bias[lane] = b[channel + lane];
    for (int64_t pixel = threadIdx.y; pixel < tiling.rows; pixel += tiling.slices) {
      const int64_t at = tiling.elementOf(image, pixel, channel);
      auto pack = Lanes<T, lanes>::readOnce(x + at);
#pragma unroll
      for (int lane = 0; lane < lanes; ++lane) {
        pack.values[lane] = store<T>(load(pack.values[lane]) + bias[lane]);
      }
      pack.write(y + at);
    }
  }
}

std::unique_ptr<Kernel> addBias(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  return withChannelLanes(x.type, {x.shape[3]}, {x.data, y.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = imageTiling(x, lanes);
    return makeKernel(
        [tiling, grid = gridFor(tiling.blocks(), traitsOf(context)), x = x.as<T>(),
         b = instruction.input("b").as<float>(), y = y.as<T>(),
         kernel = LoadedKernel(addBiasKernel<T, decltype(lanes)::value>)](Stream& stream) {
          launch(kernel, grid, blockOf(tiling), 0, stream, tiling, x, b, y);
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
  return withChannelLanes(dy.type, {dy.shape[3]}, {dy.data}, [&](auto tag, auto lanes) {
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
          launch(kernel, grid, blockOf(tiling), 0, stream, tiling, dy, sums);
          launch(lastKernel, last, dim3(biasThreads), 0, stream, tiling.groups, tiling.columns,
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
    Lanes<T, lanes>::readOnce(columns.from + row * columns.fromPitch + column)
        .write(columns.to + row * columns.toPitch + column);
  }
}

// A part of the channels of `from` to a part of those of `to`.
std::unique_ptr<Kernel> copyChannels(const Operand& from, int64_t fromOffset, const Operand& to,
                                     int64_t toOffset, int64_t width, PrepareContext& context) {
  return withChannelLanes(
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
              launch(kernel, grid, dim3(copyThreads), 0, stream, columns);
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
      {"add-bias-backward", {"dy:T[N,H,W,C] db?:f32[C] -> db:f32[C]", addBiasBackward}},
      {"concatenate", {"a:T[N,H,W,C] b:T[N,H,W,D] -> y:T[N,H,W,E]", concatenate}},
      {"multiply", {"a:T[N,H,W,C] b:T[N,C] -> y:T[N,H,W,C]", multiply}},
      {"multiply-backward", {"dy:T[N,H,W,C] a:T[N,H,W,C] -> db:T[N,C]", multiplyBackward}},
      {"slice", {"x:T[N,H,W,C] -> y:T[N,H,W,D]", slice}},
  };
});

}  // namespace

}  // namespace onehour::cuda
