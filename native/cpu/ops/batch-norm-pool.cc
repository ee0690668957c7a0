// Batch normalisation, ReLU and max pooling in one pass: the image in between is never stored.
#include <cmath>
#include <limits>

#include "../../core/ops/dispatch.h"
#include "../../core/ops/pool.h"
#include "../runtime/parallel.h"
#include "../runtime/simd.h"
#include "batch-norm.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

template <typename T>
struct Tensors {
  const T* x;
  T* y;
  uint8_t* index;  // nullptr: not wanted
  T* maxima;       // nullptr: not wanted
};

// What is known of a window so far, a value a channel.
struct Window {
  float* largest;
  float* source;  // x where it is
  int32_t* place;
  Window(Scratch& scratch, const Layout& layout)
      : largest(scratch.take<float>(layout.channels)),
        source(scratch.take<float>(layout.channels)),
        place(scratch.take<int32_t>(layout.channels)) {}
};

struct PoolScratch {
  AffineScratch affine;
  std::vector<Window> threads;
  PoolScratch(Scratch& scratch, const Layout& layout, int threads_) : affine(scratch, layout) {
    for (int i = 0; i < threads_; ++i) threads.emplace_back(scratch, layout);
  }
};

// The row of windows number `row`. The first of equal values wins, and NaNs are passed over, as in
// oneDNN's pooling; values are compared as they would have been stored.
template <typename T, bool relu>
void poolRow(const Tensors<T>& tensors, const WindowPooling& pooling, int64_t row,
             const AffineScratch& affine, const Window& window) {
  const int64_t H = pooling.x[1], W = pooling.x[2], C = pooling.x[3];
  const int64_t P = pooling.y[1], Q = pooling.y[2];
  const int64_t R = pooling.window.height, S = pooling.window.width;
  const T* image = tensors.x + row / P * H * W * C;
  const int64_t top = row % P * pooling.stride.height - pooling.padding.height;
  const int64_t stride = pooling.stride.width, padding = pooling.padding.width;
  simd([=, mean = affine.mean, scale = affine.scale, beta = affine.beta, largest = window.largest,
        source = window.source, place = window.place]() ONEHOUR_INLINE {
    const int64_t firstR = top < 0 ? -top : 0, endR = H - top < R ? H - top : R;
    for (int64_t q = 0; q < Q; ++q) {
      const int64_t left = q * stride - padding;
      const int64_t firstS = left < 0 ? -left : 0, endS = W - left < S ? W - left : S;
      const T* first = image + ((top + firstR) * W + left + firstS) * C;
#pragma GCC ivdep
      for (int64_t c = 0; c < C; ++c) {
        largest[c] = std::numeric_limits<float>::lowest();
        source[c] = load(first[c]);
        place[c] = static_cast<int32_t>(firstR * S + firstS);
      }
      for (int64_t r = firstR; r < endR; ++r) {
        for (int64_t s = firstS; s < endS; ++s) {
          const T* from = image + ((top + r) * W + left + s) * C;
          const auto here = static_cast<int32_t>(r * S + s);
#pragma GCC ivdep
          for (int64_t c = 0; c < C; ++c) {
            const float x = load(from[c]);
            float value = normalized(x, mean[c], scale[c], beta[c]);
            if constexpr (relu) value = value < 0 ? 0.0f : value;
            value = load(store<T>(value));
            const bool larger = value > largest[c];
            largest[c] = larger ? value : largest[c];
            source[c] = larger ? x : source[c];
            place[c] = larger ? here : place[c];
          }
        }
      }
      const int64_t to = (row * Q + q) * C;
#pragma GCC ivdep
      for (int64_t c = 0; c < C; ++c) tensors.y[to + c] = store<T>(largest[c]);
      if (tensors.maxima != nullptr) {
#pragma GCC ivdep
        for (int64_t c = 0; c < C; ++c) tensors.maxima[to + c] = store<T>(source[c]);
      }
      if (tensors.index != nullptr) {
#pragma GCC ivdep
        for (int64_t c = 0; c < C; ++c) tensors.index[to + c] = static_cast<uint8_t>(place[c]);
      }
    }
  });
}

std::unique_ptr<Kernel> makeApply(const Instruction& instruction, PrepareContext& context,
                                  const BatchNormApply& op) {
  const WindowPooling pooling = windowPoolingOf(instruction, op.x, op.y);
  const Operand* index = instruction.findOutput("index");
  const Operand* maxima = instruction.findOutput("maxima");
  if (index != nullptr) checkIndex(instruction, pooling);
  const Layout layout{op.x.count(), op.x.shape[3], op.x.shape[3]};
  return withType(op.x.type, [&](auto tag) {
    using T = decltype(tag);
    const Tensors<T> tensors{op.x.as<T>(), op.y.as<T>(),
                             index == nullptr ? nullptr : index->as<uint8_t>(),
                             maxima == nullptr ? nullptr : maxima->as<T>()};
    return withFlag(op.relu, [&](auto relu) {
      return makeKernel(
          [layout, pooling, tensors, affine = affineOf(op)](Stream& stream) {
            const int threads = threadsFor(layout.count);
            Scratch memory(stream.workspace());
            const PoolScratch scratch(memory, layout, threads);
            affine.fill(layout, scratch.affine);
            parallelRanges(threads, pooling.y[0] * pooling.y[1], 1,
                           [&](int thread, int64_t row, int64_t end) {
                             const Window& window = scratch.threads[thread];
                             for (; row < end; ++row) {
                               poolRow<T, decltype(relu)::value>(tensors, pooling, row,
                                                                 scratch.affine, window);
                             }
                           });
          },
          scratchBytes<PoolScratch>(layout, maximalThreads(context)));
    });
  });
}

std::unique_ptr<Kernel> apply(const Instruction& instruction, PrepareContext& context) {
  return makeApply(instruction, context, BatchNormApply(instruction, false));
}

std::unique_ptr<Kernel> inference(const Instruction& instruction, PrepareContext& context) {
  return makeApply(instruction, context, BatchNormApply(instruction, true));
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"batch-norm-apply-max-pool",
       {"x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta:f32[C] -> y:T[N,P,Q,C] "
        "index?:u8[N,P,Q,C] maxima?:T[N,P,Q,C]",
        apply}},
      {"batch-norm-inference-max-pool",
       {"x:T[N,H,W,C] running-mean:f32[C] running-variance:f32[C] gamma:f32[C] beta:f32[C] -> "
        "y:T[N,P,Q,C] index?:u8[N,P,Q,C]",
        inference}},
  };
});

}  // namespace

}  // namespace onehour::cpu
