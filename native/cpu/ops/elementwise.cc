// Elementwise ops and the input normalisation.
#include "../../core/ops/elementwise.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "../../core/ops/channels.h"
#include "../../core/ops/dispatch.h"
#include "../runtime/parallel.h"
#include "../runtime/simd.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

template <typename T, bool relu>
void addRange(const T* a, const T* b, T* y, int64_t count) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      const float sum = load(a[i]) + load(b[i]);
      y[i] = store<T>(relu && sum < 0 ? 0.0f : sum);
    }
  });
}

std::unique_ptr<Kernel> add(const Instruction& instruction, PrepareContext&) {
  const Operand& a = instruction.input("a");
  return withType(a.type, [&](auto tag) {
    using T = decltype(tag);
    return withFlag(flag(instruction, "relu"), [&](auto relu) {
      return makeKernel([a = a.as<T>(), b = instruction.input("b").as<T>(),
                         y = instruction.output("y").as<T>(), n = a.count()](Stream&) {
        parallelElements(n, [=](int64_t begin, int64_t end) {
          addRange<T, decltype(relu)::value>(a + begin, b + begin, y + begin, end - begin);
        });
      });
    });
  });
}

// A NaN passes.
template <typename T>
void reluRange(const T* x, T* y, int64_t count) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      const float value = load(x[i]);
      y[i] = store<T>(value < 0 ? 0.0f : value);
    }
  });
}

std::unique_ptr<Kernel> relu(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  return withType(x.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel([x = x.as<T>(), y = instruction.output("y").as<T>(), n = x.count()](Stream&) {
      parallelElements(
          n, [=](int64_t begin, int64_t end) { reluRange<T>(x + begin, y + begin, end - begin); });
    });
  });
}

template <typename T>
void reluBackwardRange(const T* dy, const T* y, T* dx, int64_t count) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      dx[i] = store<T>(load(y[i]) > 0 ? load(dy[i]) : 0.0f);
    }
  });
}

std::unique_ptr<Kernel> reluBackward(const Instruction& instruction, PrepareContext&) {
  const Operand& dy = instruction.input("dy");
  return withType(dy.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel([dy = dy.as<T>(), y = instruction.input("y").as<T>(),
                       dx = instruction.output("dx").as<T>(), n = dy.count()](Stream&) {
      parallelElements(n, [=](int64_t begin, int64_t end) {
        reluBackwardRange<T>(dy + begin, y + begin, dx + begin, end - begin);
      });
    });
  });
}

std::unique_ptr<Kernel> sigmoid(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  return withType(x.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel([x = x.as<T>(), y = instruction.output("y").as<T>(), n = x.count()](Stream&) {
      parallelElements(n, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = store<T>(1 / (1 + std::exp(-load(x[i]))));
      });
    });
  });
}

std::unique_ptr<Kernel> sigmoidBackward(const Instruction& instruction, PrepareContext&) {
  const Operand& dy = instruction.input("dy");
  return withType(dy.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel([dy = dy.as<T>(), y = instruction.input("y").as<T>(),
                       dx = instruction.output("dx").as<T>(), n = dy.count()](Stream&) {
      parallelElements(n, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const float value = load(y[i]);
          dx[i] = store<T>(load(dy[i]) * value * (1 - value));
        }
      });
    });
  });
}

template <typename From, typename To>
void convertRange(const From* x, To* y, int64_t count) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) y[i] = storeAny<To>(load(x[i]));
  });
}

template <typename From, typename To>
std::unique_ptr<Kernel> convert(const Operand& x, const Operand& y) {
  return makeKernel([x = x.as<From>(), y = y.as<To>(), n = x.count()](Stream&) {
    parallelElements(
        n, [=](int64_t begin, int64_t end) { convertRange(x + begin, y + begin, end - begin); });
  });
}

std::unique_ptr<Kernel> copyBytes(const Operand& x, const Operand& y) {
  return makeKernel([from = x.as<char>(), to = y.as<char>(), n = int64_t(x.bytes())](Stream&) {
    parallelElements(n, [=](int64_t begin, int64_t end) {
      std::memmove(to + begin, from + begin, static_cast<size_t>(end - begin));
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
  const auto& [x, y] = Copy(instruction);
  if (x.type == y.type) return copyBytes(x, y);
  return y.type == DataType::bf16 ? convert<float, bf16>(x, y) : convert<bf16, float>(x, y);
}

void scaleRange(const float* x, float factor, float* y, int64_t count) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) y[i] = factor * x[i];
  });
}

std::unique_ptr<Kernel> scale(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  return makeKernel([x = x.as<float>(), y = instruction.output("y").as<float>(), n = x.count(),
                     factor = static_cast<float>(instruction.number("factor"))](Stream&) {
    parallelElements(n, [=](int64_t begin, int64_t end) {
      scaleRange(x + begin, factor, y + begin, end - begin);
    });
  });
}

// (pixel / 255 − mean) / std by table: one row of 256 values a channel.
template <typename T>
struct Normalization {
  const uint8_t* x;
  const uint8_t* flip;  // nullptr: no image is mirrored
  T* y;
  int64_t width, channels, padded;
  int64_t rows;          // N·H
  int64_t rowsPerImage;  // H
  std::vector<T> table;  // [channels, 256]

  void run(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      const bool mirrored = flip != nullptr && flip[row / rowsPerImage] != 0;
      const uint8_t* from = x + row * width * channels;
      T* to = y + row * width * padded;
      const int64_t step = mirrored ? -channels : channels;
      if (mirrored) from += (width - 1) * channels;
      for (int64_t column = 0; column < width; ++column, from += step, to += padded) {
        for (int64_t c = 0; c < channels; ++c) to[c] = table[c * 256 + from[c]];
        for (int64_t c = channels; c < padded; ++c) to[c] = T{};
      }
    }
  }
};

std::unique_ptr<Kernel> normalizeInput(const Instruction& instruction, PrepareContext&) {
  const NormalizeInput op(instruction);
  return withType(op.y.type, [&](auto tag) {
    using T = decltype(tag);
    Normalization<T> work{op.x.as<uint8_t>(),
                          op.flip == nullptr ? nullptr : op.flip->as<uint8_t>(),
                          op.y.as<T>(),
                          op.width(),
                          op.channels,
                          op.padded(),
                          op.rows(),
                          op.x.shape[1],
                          {}};
    for (int64_t c = 0; c < op.channels; ++c) {
      for (int pixel = 0; pixel < 256; ++pixel) {
        work.table.push_back(
            store<T>(static_cast<float>((pixel / 255.0 - op.mean[c]) / op.std[c])));
      }
    }
    return makeKernel([work = std::move(work), n = op.y.count()](Stream&) {
      parallelRanges(threadsFor(n), work.rows, 1,
                     [&](int, int64_t begin, int64_t end) { work.run(begin, end); });
    });
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"add", {"a:T[...] b:T[...] -> y:T[...]", add}},
      {"copy", {"x:U[...] -> y:V[...]", copy}},
      {"flatten", {"x:T[N,H,W,C] -> y:T[N,F]", flatten}},
      {"flatten-backward", {"dy:T[N,F] -> dx:T[N,H,W,C]", flattenBackward}},
      {"normalize-input", {"x:u8[N,H,W,C] flip?:u8[N] -> y:T[N,H,W,D]", normalizeInput}},
      {"relu", {"x:T[...] -> y:T[...]", relu}},
      {"relu-backward", {"dy:T[...] y:T[...] -> dx:T[...]", reluBackward}},
      {"scale", {"x:f32[...] -> y:f32[...]", scale}},
      {"sigmoid", {"x:T[...] -> y:T[...]", sigmoid}},
      {"sigmoid-backward", {"dy:T[...] y:T[...] -> dx:T[...]", sigmoidBackward}},
  };
});

}  // namespace

}  // namespace onehour::cpu
