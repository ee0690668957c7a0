// Convolution with 3×3 filters, stride 1 and padding 1 in fp32, and its gradients, by Winograd's
// F(2×2, 3×3): 16 instead of 36 products for every 2×2 pixels.
#pragma once

#include <cstdint>
#include <memory>

#include "../../core/backend.h"

namespace onehour::cpu {

struct WinogradProblem {
  int64_t n, h, w;  // images and their size, the same before and after
  int64_t c, k;     // channels before and after
};

// Whether it is faster here than the direct algorithm. A matter of the shape alone, so that all
// programs of a run compute alike.
bool prefersWinograd(const WinogradProblem& problem);
// The same for the gradient with regard to the filters.
bool prefersWinogradWeight(const WinogradProblem& problem, int threads);

// x[N,H,W,C], w[K,3,3,C], y[N,H,W,K]. `threads` are the most that will run it.
std::unique_ptr<Kernel> winogradForward(const WinogradProblem& problem, const float* x,
                                        const float* w, float* y, int threads);
std::unique_ptr<Kernel> winogradBackwardData(const WinogradProblem& problem, const float* dy,
                                             const float* w, float* dx, int threads);
std::unique_ptr<Kernel> winogradBackwardWeight(const WinogradProblem& problem, const float* x,
                                               const float* dy, float* dw, bool accumulate,
                                               int threads);

}  // namespace onehour::cpu
