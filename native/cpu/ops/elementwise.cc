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

// y = function(a, b). y may lie where an input is.
template <typename T, typename Function>
void mapRange(const T* a, const T* b, T* y, int64_t count, Function function) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) y[i] = store<T>(function(load(a[i]), load(b[i])));
  });
}

template <typename T, typename Function>
std::unique_ptr<Kernel> elementwise(int64_t count, const T* a, const T* b, T* y,
                                    Function function) {
  return makeKernel([=](Stream&) {
    parallelElements(count, [=](int64_t begin, int64_t end) {
      mapRange(a + begin, b + begin, y + begin, end - begin, function);
    });
  });
}

// y from x alone.
template <typename Function>
std::unique_ptr<Kernel> activation(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  return withType(x.type, [&](auto tag) {
    using T = decltype(tag);
    return elementwise<T>(x.count(), x.as<T>(), x.as<T>(), instruction.output("y").as<T>(),
                          Function{});
  });
}

// dx from dy and y.
template <typename Function>
std::unique_ptr<Kernel> activationBackward(const Instruction& instruction, PrepareContext&) {
  const Operand& dy = instruction.input("dy");
  return withType(dy.type, [&](auto tag) {
    using T = decltype(tag);
    return elementwise<T>(dy.count(), dy.as<T>(), instruction.input("y").as<T>(),
                          instruction.output("dx").as<T>(), Function{});
  });
}

template <bool relu>
struct Sum {
  ONEHOUR_INLINE float operator()(float a, float b) const {
    const float sum = a + b;
    return relu && sum < 0 ? 0.0f : sum;
  }
};

// A NaN passes.
struct Rectified {
  ONEHOUR_INLINE float operator()(float x, float) const { return x < 0 ? 0.0f : x; }
};

struct Masked {
  ONEHOUR_INLINE float operator()(float dy, float y) const { return y > 0 ? dy : 0.0f; }
};

struct Squashed {
  ONEHOUR_INLINE float operator()(float x, float) const { return 1 / (1 + std::exp(-x)); }
};

struct SquashedGradient {
  ONEHOUR_INLINE float operator()(float dy, float y) const { return dy * y * (1 - y); }
};

struct Scaled {
  float factor;
  ONEHOUR_INLINE float operator()(float x, float) const { return factor * x; }
};

std::unique_ptr<Kernel> add(const Instruction& instruction, PrepareContext&) {
  const Operand& a = instruction.input("a");
  return withType(a.type, [&](auto tag) {
    using T = decltype(tag);
    return withFlag(flag(instruction, "relu"), [&](auto relu) {
      return elementwise<T>(a.count(), a.as<T>(), instruction.input("b").as<T>(),
                            instruction.output("y").as<T>(), Sum<decltype(relu)::value>{});
    });
  });
}

std::unique_ptr<Kernel> scale(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  return elementwise<float>(x.count(), x.as<float>(), x.as<float>(),
                            instruction.output("y").as<float>(),
                            Scaled{static_cast<float>(instruction.number("factor"))});
}

// start + weight·(end − start), exactly `end` for a weight of 1.
struct Interpolated {
  float weight;
  ONEHOUR_INLINE float operator()(float start, float end) const {
    const float way = end - start;
    return weight < 0.5f ? start + weight * way : end - way * (1 - weight);
  }
};

std::unique_ptr<Kernel> lerp(const Instruction& instruction, PrepareContext&) {
  const Operand& start = instruction.input("start");
  return makeKernel([a = start.as<float>(), b = instruction.input("end").as<float>(),
                     weight = instruction.input("weight").as<float>(),
                     y = instruction.output("y").as<float>(), n = start.count()](Stream&) {
    if (*weight == 0) {
      if (y != a) std::memmove(y, a, static_cast<size_t>(n) * sizeof(float));
      return;
    }
    parallelElements(n, [=](int64_t begin, int64_t end) {
      mapRange(a + begin, b + begin, y + begin, end - begin, Interpolated{*weight});
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

std::unique_ptr<Kernel> convert(const Operand& x, const Operand& y) {
  return withType(x.type, [&](auto from) {
    return withType(y.type, [&](auto to) {
      return makeKernel(
          [x = x.as<decltype(from)>(), y = y.as<decltype(to)>(), n = x.count()](Stream&) {
            parallelElements(n, [=](int64_t begin, int64_t end) {
              convertRange(x + begin, y + begin, end - begin);
            });
          });
    });
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
  return x.type == y.type ? copyBytes(x, y) : convert(x, y);
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

}  // namespace onehour::cpu
