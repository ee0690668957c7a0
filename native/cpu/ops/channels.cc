// Ops on channels: a bias, multiplication by one number an image and channel, concatenation and
// slices.
#include "../../core/ops/channels.h"

#include <algorithm>
#include <cstring>

#include "../runtime/parallel.h"
#include "../runtime/simd.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

template <typename T>
void multiplyRow(const T* a, const T* b, T* y, int64_t channels) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) y[c] = store<T>(load(a[c]) * load(b[c]));
  });
}

std::unique_ptr<Kernel> multiply(const Instruction& instruction, PrepareContext&) {
  const Operand& a = instruction.input("a");
  return withType(a.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel([a = a.as<T>(), b = instruction.input("b").as<T>(),
                       y = instruction.output("y").as<T>(), rows = pixelsOf(a),
                       pixels = a.shape[1] * a.shape[2], channels = a.shape[3]](Stream&) {
      parallelRanges(threadsFor(rows * channels), rows, 1, [&](int, int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          multiplyRow(a + row * channels, b + row / pixels * channels, y + row * channels,
                      channels);
        }
      });
    });
  });
}

template <typename T>
void addProducts(const T* dy, const T* a, float* sums, int64_t channels) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) sums[c] += load(dy[c]) * load(a[c]);
  });
}

// db = Σ dy·a over the pixels of an image, in their order.
std::unique_ptr<Kernel> multiplyBackward(const Instruction& instruction, PrepareContext&) {
  const Operand& a = instruction.input("a");
  const Operand& db = instruction.output("db");
  return withType(a.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel(
        [dy = instruction.input("dy").as<T>(), a = a.as<T>(), db = db.as<T>(), images = a.shape[0],
         pixels = a.shape[1] * a.shape[2], channels = a.shape[3]](Stream& stream) {
          auto* const sums = static_cast<float*>(stream.workspace());
          parallelRanges(threadsFor(images * pixels * channels), images, 1,
                         [&](int, int64_t begin, int64_t end) {
                           for (int64_t image = begin; image < end; ++image) {
                             float* const own = sums + image * channels;
                             std::fill_n(own, channels, 0.0f);
                             for (int64_t pixel = 0; pixel < pixels; ++pixel) {
                               const int64_t at = (image * pixels + pixel) * channels;
                               addProducts(dy + at, a + at, own, channels);
                             }
                             for (int64_t c = 0; c < channels; ++c) {
                               db[image * channels + c] = store<T>(own[c]);
                             }
                           }
                         });
        },
        static_cast<size_t>(db.count()) * sizeof(float));
  });
}

template <typename T>
void addBiasRow(const T* x, const float* b, T* y, int64_t channels) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) y[c] = store<T>(load(x[c]) + b[c]);
  });
}

std::unique_ptr<Kernel> addBias(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  return withType(x.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel([x = x.as<T>(), b = instruction.input("b").as<float>(),
                       y = instruction.output("y").as<T>(), rows = pixelsOf(x),
                       channels = x.shape[3]](Stream&) {
      parallelRanges(threadsFor(rows * channels), rows, 1, [&](int, int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          addBiasRow(x + row * channels, b, y + row * channels, channels);
        }
      });
    });
  });
}

template <typename T>
void addValues(const T* dy, float* sums, int64_t channels) {
  simd([=]() ONEHOUR_INLINE {
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) sums[c] += load(dy[c]);
  });
}

// db = Σ dy over all pixels: parts of so many rows each, whose sums are added in their order, so
// that the result does not depend on the number of threads.
constexpr int64_t biasRows = 1024;

std::unique_ptr<Kernel> addBiasBackward(const Instruction& instruction, PrepareContext&) {
  const Operand& dy = instruction.input("dy");
  const int64_t rows = pixelsOf(dy);
  const int64_t channels = dy.shape[3];
  const int64_t parts = (rows + biasRows - 1) / biasRows;
  return withType(dy.type, [&](auto tag) {
    using T = decltype(tag);
    return makeKernel(
        [=, dy = dy.as<T>(), db = instruction.output("db").as<float>(),
         accumulate = flag(instruction, "accumulate")](Stream& stream) {
          auto* const sums = static_cast<float*>(stream.workspace());
          parallelRanges(threadsFor(rows * channels), parts, 1,
                         [&](int, int64_t begin, int64_t end) {
                           for (int64_t part = begin; part < end; ++part) {
                             float* const own = sums + part * channels;
                             std::fill_n(own, channels, 0.0f);
                             const int64_t last = std::min(rows, (part + 1) * biasRows);
                             for (int64_t row = part * biasRows; row < last; ++row) {
                               addValues(dy + row * channels, own, channels);
                             }
                           }
                         });
          for (int64_t c = 0; c < channels; ++c) {
            double sum = accumulate ? db[c] : 0;
            for (int64_t part = 0; part < parts; ++part) sum += sums[part * channels + c];
            db[c] = static_cast<float>(sum);
          }
        },
        static_cast<size_t>(parts * channels) * sizeof(float));
  });
}

// Columns of a matrix in bytes: `width` of each row, rows `fromPitch` and `toPitch` apart.
struct Columns {
  const char* from;
  char* to;
  int64_t rows, width, fromPitch, toPitch;

  void copy() const {
    parallelRanges(threadsFor(rows * width), rows, 1, [this](int, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        std::memcpy(to + row * toPitch, from + row * fromPitch, static_cast<size_t>(width));
      }
    });
  }
};

int64_t pitchOf(const Operand& images) {
  return images.shape[3] * static_cast<int64_t>(bytesOf(images.type));
}

std::unique_ptr<Kernel> concatenate(const Instruction& instruction, PrepareContext&) {
  expectConcatenation(instruction);
  const Operand& a = instruction.input("a");
  const Operand& b = instruction.input("b");
  const Operand& y = instruction.output("y");
  const int64_t rows = pixelsOf(y);
  const Columns first{a.as<char>(), y.as<char>(), rows, pitchOf(a), pitchOf(a), pitchOf(y)};
  const Columns second{b.as<char>(), y.as<char>() + pitchOf(a), rows, pitchOf(b), pitchOf(b),
                       pitchOf(y)};
  return makeKernel([first, second](Stream&) {
    first.copy();
    second.copy();
  });
}

std::unique_ptr<Kernel> slice(const Instruction& instruction, PrepareContext&) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const int64_t skipped = sliceOffset(instruction) * static_cast<int64_t>(bytesOf(x.type));
  const Columns columns{
      x.as<char>() + skipped, y.as<char>(), pixelsOf(x), pitchOf(y), pitchOf(x), pitchOf(y)};
  return makeKernel([columns](Stream&) { columns.copy(); });
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

}  // namespace onehour::cpu
