// Elementwise ops and the input normalisation.
#include <algorithm>
#include <cstdint>

#include "../../core/ops/channels.h"
#include "../../core/ops/dispatch.h"
#include "../../core/ops/elementwise.h"
#include "../tiling/element-tiling.h"
#include "../tiling/rows.cuh"
#include "kernels.h"

namespace onehour::cuda {
namespace {

// y = function(a, b), or of a alone. y may lie where an input of its type is.
template <int lanes, int inputs, typename From, typename To, typename Function>
__global__ void __launch_bounds__(elementThreads)
    elementKernel(ElementTiling tiling, const From* a, const From* b, To* y, Function function) {
  const int thread = static_cast<int>(threadIdx.x);
  const From* const from[] = {a, b};
  Pack<From, lanes> packs[elementBatch][inputs];
#pragma unroll
  for (int k = 0; k < elementBatch; ++k) {
    const int64_t pack = tiling.pack(blockIdx.x, k, thread);
    if (pack < tiling.packs()) {
#pragma unroll
      for (int i = 0; i < inputs; ++i) {
        packs[k][i] = Pack<From, lanes>::readOnce(from[i] + pack * lanes);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < elementBatch; ++k) {
    const int64_t pack = tiling.pack(blockIdx.x, k, thread);
    if (pack < tiling.packs()) {
      float values[inputs][lanes];
      float result[lanes];
#pragma unroll
      for (int i = 0; i < inputs; ++i) packs[k][i].unpack(values[i]);
#pragma unroll
      for (int j = 0; j < lanes; ++j) result[j] = function(values[0][j], values[inputs - 1][j]);
      Pack<To, lanes>::of(result).write(y + pack * lanes);
    }
  }
  const int64_t tail = tiling.tail(blockIdx.x, thread);
  if (tail >= 0) y[tail] = store<To>(function(load(a[tail]), load((inputs == 1 ? a : b)[tail])));
}

struct Sum {
  bool relu;
  __device__ float operator()(float a, float b) const {
    const float sum = a + b;
    return relu && sum < 0 ? 0.0f : sum;
  }
};

// A NaN passes.
struct Rectified {
  __device__ float operator()(float x, float) const { return x < 0 ? 0.0f : x; }
};

struct Masked {
  __device__ float operator()(float dy, float y) const { return y > 0 ? dy : 0.0f; }
};

struct Squashed {
  __device__ float operator()(float x, float) const { return 1 / (1 + expf(-x)); }
};

struct SquashedGradient {
  __device__ float operator()(float dy, float y) const { return dy * y * (1 - y); }
};

struct Scaled {
  float factor;
  __device__ float operator()(float x, float) const { return factor * x; }
};

struct Converted {
  __device__ float operator()(float x, float) const { return x; }
};

// Packs are as many elements as 16 bytes of the wider type hold, where the addresses allow them.
template <int inputs, typename From, typename To, typename Function>
std::unique_ptr<Kernel> elementwise(int64_t count, const From* a, const From* b, To* y,
                                    Function function) {
  constexpr int64_t widest = std::min(lanesOf<From>, lanesOf<To>);
  return withFlag(dividesInto(widest, 0, a, b, y), [&](auto tag) {
    constexpr int lanes = decltype(tag)::value ? static_cast<int>(widest) : 1;
    return makeKernel(
        [tiling = ElementTiling{count, lanes}, a, b, y, function,
         kernel = LoadedKernel(elementKernel<lanes, inputs, From, To, Function>)](Stream& stream) {
          if (tiling.count == 0) return;
          launch(kernel, dim3(static_cast<unsigned>(tiling.blocks())), dim3(elementThreads), stream,
                 tiling, a, b, y, function);
        });
  });
}

std::unique_ptr<Kernel> add(const Instruction& instruction, PrepareContext&) {
  const Operand& a = instruction.input("a");
  return withType(a.type, [&](auto tag) {
    using T = decltype(tag);
    return elementwise<2>(a.count(), a.as<const T>(), instruction.input("b").as<const T>(),
                          instruction.output("y").as<T>(), Sum{flag(instruction, "relu")});
  });
}

template <typename Function>
std::unique_ptr<Kernel> activation(const Instruction& instruction, PrepareContext&) {
  const Operand& operand = instruction.input("x");
  return withType(operand.type, [&](auto tag) {
    using T = decltype(tag);
    const T* x = operand.as<T>();
    return elementwise<1>(operand.count(), x, x, instruction.output("y").as<T>(), Function{});
  });
}

// dx from dy and y.
template <typename Function>
std::unique_ptr<Kernel> activationBackward(const Instruction& instruction, PrepareContext&) {
  const Operand& dy = instruction.input("dy");
  return withType(dy.type, [&](auto tag) {
    using T = decltype(tag);
    return elementwise<2>(dy.count(), dy.as<const T>(), instruction.input("y").as<const T>(),
                          instruction.output("dx").as<T>(), Function{});
  });
}

std::unique_ptr<Kernel> scale(const Instruction& instruction, PrepareContext&) {
  const Operand& operand = instruction.input("x");
  const float* x = operand.as<float>();
  return elementwise<1>(operand.count(), x, x, instruction.output("y").as<float>(),
                        Scaled{static_cast<float>(instruction.number("factor"))});
}

// start + weight·(end − start), exactly `end` for a weight of 1.
struct Interpolated {
  const float* weight;
  __device__ float operator()(float start, float end) const {
    const float share = *weight;
    if (share == 0) return start;
    const float way = end - start;
    return share < 0.5f ? start + share * way : end - way * (1 - share);
  }
};

std::unique_ptr<Kernel> lerp(const Instruction& instruction, PrepareContext&) {
  const Operand& start = instruction.input("start");
  return elementwise<2>(start.count(), start.as<const float>(),
                        instruction.input("end").as<const float>(),
                        instruction.output("y").as<float>(),
                        Interpolated{instruction.input("weight").as<const float>()});
}

// ------------------------------------------------------------------------------------------- copy
template <int lanes>
__global__ void __launch_bounds__(elementThreads)
    copyKernel(ElementTiling tiling, const uint8_t* x, uint8_t* y) {
  using Bytes = Pack<uint8_t, lanes>;
  const int thread = static_cast<int>(threadIdx.x);
  Bytes packs[elementBatch];
#pragma unroll
  for (int k = 0; k < elementBatch; ++k) {
    const int64_t pack = tiling.pack(blockIdx.x, k, thread);
    if (pack < tiling.packs()) packs[k] = Bytes::readOnce(x + pack * lanes);
  }
#pragma unroll
  for (int k = 0; k < elementBatch; ++k) {
    const int64_t pack = tiling.pack(blockIdx.x, k, thread);
    if (pack < tiling.packs()) packs[k].write(y + pack * lanes);
  }
  const int64_t tail = tiling.tail(blockIdx.x, thread);
  if (tail >= 0) y[tail] = x[tail];
}

std::unique_ptr<Kernel> copyBytes(const Operand& x, const Operand& y) {
  const auto* from = x.as<const uint8_t>();
  auto* to = y.as<uint8_t>();
  return withLanes<uint8_t>(dividesInto(accessBytes, 0, from, to), [&](auto lanes) {
    const ElementTiling tiling{static_cast<int64_t>(x.bytes()), lanes};
    return makeKernel([tiling, from, to,
                       kernel = LoadedKernel(copyKernel<decltype(lanes)::value>)](Stream& stream) {
      if (tiling.count == 0) return;
      launch(kernel, dim3(static_cast<unsigned>(tiling.blocks())), dim3(elementThreads), stream,
             tiling, from, to);
    });
  });
}

std::unique_ptr<Kernel> flatten(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  expectFlat(instruction, x, y);
  return copyBytes(x, y);
}

std::unique_ptr<Kernel> flattenBackward(const Instruction& instruction, PrepareContext&) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  expectFlat(instruction, dx, dy);
  return copyBytes(dy, dx);
}

std::unique_ptr<Kernel> copy(const Instruction& instruction, PrepareContext&) {
  const Copy op(instruction);
  if (op.x.type == op.y.type) return copyBytes(op.x, op.y);
  return withType(op.x.type, [&](auto from) {
    return withType(op.y.type, [&](auto to) {
      const auto* x = op.x.as<const decltype(from)>();
      return elementwise<1>(op.x.count(), x, x, op.y.as<decltype(to)>(), Converted{});
    });
  });
}

// -------------------------------------------------------------------------------- normalize-input
// Channels of x that one launch works on: their values travel as an argument.
constexpr int groupChannels = 16;

struct Normalization {
  const uint8_t* x;
  const uint8_t* flip;  // nullptr: no image is mirrored
  int64_t imageRows;    // H
  int width;            // W
  int channels;         // C
  int padded;           // channels of y
  int first, count;     // the group's channels
  double mean[groupChannels], std[groupChannels];
};

// Reads C bytes and writes D values a pixel. The tensor is [N·H, W·D]: a thread keeps its place in
// a row of pixels, so that what it needs to divide for it divides once.
template <typename T, int lanes>
__global__ void __launch_bounds__(rowThreads, rowBlocksPerMultiprocessor)
    normalizeKernel(RowTiling tiling, Normalization op, T* y) {
  // A pixel has 256 values a channel, of which each block makes a table: in fp64, rounded once, the
  // same numbers as everywhere.
  __shared__ T table[groupChannels * 256];
  for (int i = static_cast<int>(threadIdx.x); i < op.count * 256; i += rowThreads) {
    const double value = (i % 256 / 255.0 - op.mean[i / 256]) / op.std[i / 256];
    table[i] = store<T>(static_cast<float>(value));
  }
  __syncthreads();
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), false);
  const int64_t element = tiling.firstChannel(blockIdx.x) + tile.column * lanes;
  int place[2][lanes];  // byte in the row of x, as it is and mirrored
  int entry[lanes];     // in the table; −1: padding, −2: of another group
#pragma unroll
  for (int j = 0; j < lanes; ++j) {
    const int column = static_cast<int>((element + j) / op.padded);
    const int channel = static_cast<int>((element + j) % op.padded);
    const int other = channel < op.channels || op.first > 0 ? -2 : -1;
    const bool own = channel >= op.first && channel < op.first + op.count;
    entry[j] = own ? (channel - op.first) * 256 : other;
    place[0][j] = own ? column * op.channels + channel : 0;
    place[1][j] = own ? (op.width - 1 - column) * op.channels + channel : 0;
  }
  const int64_t firstRow = tiling.firstRow(tiling.rowBlock(blockIdx.x)) + tile.row;
  const int64_t rowBytes = int64_t{op.width} * op.channels;
  constexpr int batch = 4;  // rows that are read before the first is written
  for (int i = 0; i < tile.count; i += batch) {
    int pixels[batch][lanes];
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      if (i + k < tile.count) {
        const int64_t row = firstRow + int64_t{i + k} * tiling.rowsPerPass;
        const bool mirrored = op.flip != nullptr && op.flip[row / op.imageRows] != 0;
        const uint8_t* from = op.x + row * rowBytes;
#pragma unroll
        for (int j = 0; j < lanes; ++j) {
          if (entry[j] >= 0) pixels[k][j] = from[mirrored ? place[1][j] : place[0][j]];
        }
      }
    }
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      if (i + k < tile.count && (lanes > 1 || entry[0] > -2)) {
        const int64_t row = firstRow + int64_t{i + k} * tiling.rowsPerPass;
        Pack<T, lanes> pack;
#pragma unroll
        for (int j = 0; j < lanes; ++j) {
          pack.values[j] = entry[j] >= 0 ? table[entry[j] + pixels[k][j]] : store<T>(0.0f);
        }
        pack.write(y + row * tiling.channels + element);
      }
    }
  }
}

std::unique_ptr<Kernel> normalizeInput(const Instruction& instruction, PrepareContext& context) {
  const NormalizeInput op(instruction);
  std::vector<Normalization> groups;
  for (int64_t first = 0; first < op.channels; first += groupChannels) {
    Normalization group{op.x.as<uint8_t>(),
                        op.flip == nullptr ? nullptr : op.flip->as<uint8_t>(),
                        op.x.shape[1],
                        static_cast<int>(op.width()),
                        static_cast<int>(op.channels),
                        static_cast<int>(op.padded()),
                        static_cast<int>(first),
                        static_cast<int>(std::min<int64_t>(groupChannels, op.channels - first)),
                        {},
                        {}};
    std::copy_n(op.mean.begin() + first, group.count, group.mean);
    std::copy_n(op.std.begin() + first, group.count, group.std);
    groups.push_back(group);
  }
  return withType(op.y.type, [&](auto tag) {
    using T = decltype(tag);
    T* y = op.y.as<T>();
    const int64_t width = op.width() * op.padded();
    return withLanes<T>(groups.size() == 1 && dividesInto(lanesOf<T>, width, y), [&](auto lanes) {
      const RowTiling tiling =
          rowTiling(op.rows(), width, lanes, traitsOf(context).multiprocessors);
      return makeKernel(
          [tiling, groups, y,
           kernel = LoadedKernel(normalizeKernel<T, decltype(lanes)::value>)](Stream& stream) {
            for (const Normalization& group : groups) {
              launchRows(kernel, tiling, stream, group, y);
            }
          });
    });
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"add", {"a:T[...] b:T[...] -> y:T[...]", add}},
      {"copy", {"x:U[...] -> y:V[...]", copy}},
      {"flatten", {"x:T[N,H,W,C] -> y:T[N,F]", flatten}},
      {"flatten-backward", {"dy:T[N,F] -> dx:T[N,H,W,C]", flattenBackward}},
      {"lerp", {"start:f32[...] end:f32[...] weight:f32[1] -> y:f32[...]", lerp}},
      {"normalize-input", {"x:u8[N,H,W,C] flip?:u8[N] -> y:T[N,H,W,D]", normalizeInput}},
      {"relu", {"x:T[...] -> y:T[...]", activation<Rectified>}},
      {"relu-backward", {"dy:T[...] y:T[...] -> dx:T[...]", activationBackward<Masked>}},
      {"scale", {"x:f32[...] -> y:f32[...]", scale}},
      {"sigmoid", {"x:T[...] -> y:T[...]", activation<Squashed>}},
      {"sigmoid-backward",
       {"dy:T[...] y:T[...] -> dx:T[...]", activationBackward<SquashedGradient>}},
  };
});

}  // namespace

}  // namespace onehour::cuda
