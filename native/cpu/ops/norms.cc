// Norms of parameters and gradients, in tiles that are summed in double precision, and clipping by
// them.
#include "../../core/ops/norms.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "../runtime/parallel.h"
#include "../runtime/simd.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

// Of a tile.
struct Sums {
  double weights, gradients;
  int64_t notFinite;
};

// The square of an f32 is exact in double precision, so that fused multiply-adds change nothing,
// and lanes are added up in one order with every instruction set.
Sums sumTile(const float* w, const float* g, int64_t count) {
  constexpr int lanes = 16;
  Sums sums{};
  Sums* const result = &sums;
  simd([=]() ONEHOUR_INLINE {
    double weights[lanes] = {};
    double gradients[lanes] = {};
    uint32_t notFinite[lanes] = {};
    const auto add = [&](int64_t i, int lane) ONEHOUR_INLINE {
      const double weight = w[i];
      const double gradient = g[i];
      weights[lane] += weight * weight;
      gradients[lane] += gradient * gradient;
      notFinite[lane] += (std::bit_cast<uint32_t>(g[i]) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
    };
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      for (int lane = 0; lane < lanes; ++lane) add(i + lane, lane);
    }
    for (int lane = 0; i < count; ++i, ++lane) add(i, lane);
    for (int lane = 0; lane < lanes; ++lane) {
      result->weights += weights[lane];
      result->gradients += gradients[lane];
      result->notFinite += notFinite[lane];
    }
  });
  return sums;
}

std::unique_ptr<Kernel> norms(const Instruction& instruction, PrepareContext&) {
  Norms operands = normsOf(instruction);
  const int64_t count = operands.w.count();
  std::vector<Sums> sums(operands.tiles.size());
  return makeKernel([count, w = operands.w.as<float>(), g = operands.g.as<float>(),
                     norms = operands.norms.as<float>(), tiles = std::move(operands.tiles),
                     tensors = std::move(operands.tensors),
                     sums = std::move(sums)](Stream&) mutable {
    const auto work = [&](int, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const NormTile& tile = tiles[static_cast<size_t>(i)];
        sums[static_cast<size_t>(i)] =
            sumTile(w + tile.begin, g + tile.begin, tile.end - tile.begin);
      }
    };
    parallelRanges(threadsFor(count), static_cast<int64_t>(tiles.size()), 1, work);
    for (size_t tensor = 0; tensor + 1 < tensors.size(); ++tensor) {
      Sums total{};
      for (int32_t i = tensors[tensor]; i < tensors[tensor + 1]; ++i) {
        const Sums& part = sums[static_cast<size_t>(i)];
        total.weights += part.weights;
        total.gradients += part.gradients;
        total.notFinite += part.notFinite;
      }
      norms[3 * tensor] = static_cast<float>(total.weights);
      norms[3 * tensor + 1] = static_cast<float>(total.gradients);
      norms[3 * tensor + 2] = static_cast<float>(total.notFinite);
    }
  });
}

// The factor that clipping multiplies a gradient with these norms by.
double clipFactor(const float* norms, int64_t tensors, double limit) {
  double total = 0;
  double notFinite = 0;
  for (int64_t tensor = 0; tensor < tensors; ++tensor) {
    total += norms[3 * tensor + 1];
    notFinite += norms[3 * tensor + 2];
  }
  return notFinite > 0 ? 1 : std::min(1.0, limit / (std::sqrt(total) + clipEpsilon));
}

std::unique_ptr<Kernel> clipNorm(const Instruction& instruction, PrepareContext&) {
  const ClipNorm operands = clipNormOf(instruction);
  return makeKernel([g = operands.g.as<float>(), count = operands.g.count(),
                     norms = operands.norms.as<float>(), tensors = operands.norms.shape[0],
                     limit = operands.limit](Stream&) {
    const double factor = clipFactor(norms, tensors, limit);
    if (factor == 1) return;
    const auto scale = static_cast<float>(factor);
    parallelElements(count, [=](int64_t begin, int64_t end) {
      simd([=]() ONEHOUR_INLINE {
        for (int64_t i = begin; i < end; ++i) g[i] *= scale;
      });
    });
    for (int64_t tensor = 0; tensor < tensors; ++tensor) {
      norms[3 * tensor + 1] = static_cast<float>(norms[3 * tensor + 1] * factor * factor);
    }
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"clip-norm", {"g:f32[L] norms:f32[S,3] -> g:f32[L] norms:f32[S,3]", clipNorm}},
      {"norms", {"w:f32[L] g:f32[L] -> norms:f32[S,3]", norms}},
  };
});

}  // namespace

}  // namespace onehour::cpu
