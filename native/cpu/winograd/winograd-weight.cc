// The gradient of a 3×3 convolution with regard to its filters, by Winograd's F(2×2, 3×3)
// backwards: dw = Gᵀ[Σ (Bᵀ x B) ⊙ (A dy Aᵀ)]G, the sum over all tiles. It is 16 matrix products
// whose depth are the tiles: every thread sums over its share, block by block, into an array of its
// own.
//
//   inputs     [16][tiles][c + pad]     transformed x of a block
//   gradients  [16][tiles][k + pad]     transformed dy
//   sums       [panel][16][k][lanes]    a panel are `lanes` input channels side by side
#include <algorithm>

#include "../../core/ops/dispatch.h"
#include "../runtime/parallel.h"
#include "winograd-tiles.h"

namespace onehour::cpu {
namespace {

using namespace winograd;

// The matrix product's tile of registers: `rows` filters by two vectors of input channels. A little
// more than the usual powers of two are multiples of 13, and of 6.
constexpr Registers wide{13, 32}, narrow{6, 16};

// A dy Aᵀ of `count` tiles from `first` on.
void transformGradients(const Tiles& tiles, const float* dy, int64_t channels, int64_t first,
                        int64_t count, const float* zeros, const Transformed& to) {
  simd([=]() ONEHOUR_INLINE {
    const auto transform = [=](int64_t tile, int64_t image, int64_t row, int64_t column)
                               ONEHOUR_INLINE {
                                 const float* from[4];
                                 tiles.pixels<2>(dy, channels, image, row, column, zeros, from);
                                 float* d = to.at(0, tile);
                                 const int64_t stride = to.pointStride();
#pragma GCC ivdep
                                 for (int64_t k = 0; k < channels; ++k) {
                                   float t[4][2];
                                   for (int j = 0; j < 2; ++j) {
                                     const float upper = from[j][k], lower = from[2 + j][k];
                                     t[0][j] = upper;
                                     t[1][j] = upper + lower;
                                     t[2][j] = upper - lower;
                                     t[3][j] = -lower;
                                   }
                                   for (int i = 0; i < 4; ++i) {
                                     d[(4 * i + 0) * stride + k] = t[i][0];
                                     d[(4 * i + 1) * stride + k] = t[i][0] + t[i][1];
                                     d[(4 * i + 2) * stride + k] = t[i][0] - t[i][1];
                                     d[(4 * i + 3) * stride + k] = -t[i][1];
                                   }
                                 }
                               };
    tiles.forEach(first, count, transform);
  });
}

// sums = or += gradientsᵀ·inputs, for every point.
template <int bytes, int rows, bool add>
void addProducts(const Transformed& inputs, const Transformed& gradients, int64_t count,
                 int64_t panels, int64_t filters, float* sums) {
  simd([=]() ONEHOUR_INLINE {
    constexpr int64_t lanes = 2 * bytes / sizeof(float);
    for (int64_t point = 0; point < points; ++point) {
      for (int64_t panel = 0; panel < panels; ++panel) {
        float* to = sums + (panel * points + point) * filters * lanes;
        for (int64_t k = 0; k < filters; k += rows) {
          multiply<bytes, rows, add>(gradients.at(point, 0) + k, 1, gradients.stride,
                                     inputs.at(point, 0) + panel * lanes, inputs.stride, count,
                                     to + k * lanes, lanes);
        }
      }
    }
  });
}

class WinogradWeight final : public Kernel {
 public:
  WinogradWeight(const WinogradProblem& problem, const float* x, const float* dy, float* dw,
                 bool accumulate, int threads)
      : tiles_(problem),
        registers_(instructionSet() == InstructionSet::avx512 ? wide : narrow),
        channels_(problem.c),
        filters_(problem.k),
        paddedFilters_(roundUp(filters_, registers_.rows)),
        panels_(roundUp(channels_, registers_.lanes) / registers_.lanes),
        block_(std::clamp<int64_t>(std::max(channels_, filters_) / 4, 48, 144)),
        x_(x),
        dy_(dy),
        dw_(dw),
        accumulate_(accumulate),
        threads_(static_cast<int>(std::min<int64_t>(threads, tiles_.count()))) {}

  size_t workspaceBytes() const override {
    return sizeof(float) * static_cast<size_t>(threads_ * threadFloats());
  }

  void run(Stream& stream) override {
    float* memory = static_cast<float*>(stream.workspace());
    const int threads = std::min(threads_, omp_get_max_threads());
    parallelRanges(threads, tiles_.count(), 1, [&](int thread, int64_t begin, int64_t end) {
      sumTiles(memory + thread * threadFloats(), begin, end);
    });
    parallelRanges(threads, panels_ * filters_, 1, [&](int, int64_t begin, int64_t end) {
      for (; begin < end; ++begin) finish(memory, threads, begin / filters_, begin % filters_);
    });
  }

 private:
  int64_t sumFloats() const { return panels_ * points * paddedFilters_ * registers_.lanes; }
  int64_t inputStride() const { return paddedStride(panels_ * registers_.lanes); }
  int64_t gradientStride() const { return paddedStride(paddedFilters_); }
  int64_t zeroFloats() const { return roundUp(std::max(channels_, filters_), lineFloats); }
  int64_t threadFloats() const {
    return sumFloats() + points * block_ * (inputStride() + gradientStride()) + zeroFloats();
  }

  // The sums over the tiles [begin, end), at the start of `memory`.
  void sumTiles(float* memory, int64_t begin, int64_t end) const {
    const Transformed inputs{memory + sumFloats(), block_, inputStride()};
    const Transformed gradients{inputs.data + points * inputs.pointStride(), block_,
                                gradientStride()};
    float* zeros = gradients.data + points * gradients.pointStride();
    std::fill_n(zeros, zeroFloats(), 0.0f);
    for (int64_t first = begin; first < end; first += block_) {
      const int64_t count = std::min(block_, end - first);
      transformInputs(tiles_, x_, channels_, first, count, zeros, inputs);
      transformGradients(tiles_, dy_, filters_, first, count, zeros, gradients);
      const bool wideVectors = registers_.lanes == wide.lanes;
      withFlag(first > begin, [&](auto add) {
        const auto product = wideVectors ? addProducts<64, wide.rows, decltype(add)::value>
                                         : addProducts<32, narrow.rows, decltype(add)::value>;
        product(inputs, gradients, count, panels_, paddedFilters_, memory);
      });
    }
  }

  // dw of a filter and the channels of a panel: Gᵀ u G of the sum of all threads' sums.
  void finish(const float* memory, int threads, int64_t panel, int64_t filter) const {
    const int64_t lanes = registers_.lanes, channel = panel * lanes;
    simd([=, u = memory + (panel * points * paddedFilters_ + filter) * lanes,
          stride = paddedFilters_ * lanes, next = threadFloats(), accumulate = accumulate_,
          count = std::min(lanes, channels_ - channel), channels = channels_,
          dw = dw_ + filter * 9 * channels_ + channel]() ONEHOUR_INLINE {
      float sums[points][wide.lanes];
      for (int64_t point = 0; point < points; ++point) {
        const float* from = u + point * stride;
        for (int64_t c = 0; c < count; ++c) sums[point][c] = from[c];
        for (int thread = 1; thread < threads; ++thread) {
          for (int64_t c = 0; c < count; ++c) sums[point][c] += from[thread * next + c];
        }
      }
#pragma GCC ivdep
      for (int64_t c = 0; c < count; ++c) {
        float t[3][4];
        for (int j = 0; j < 4; ++j) {
          const float sum = 0.5f * (sums[4 + j][c] + sums[8 + j][c]);
          t[0][j] = sums[j][c] + sum;
          t[1][j] = 0.5f * (sums[4 + j][c] - sums[8 + j][c]);
          t[2][j] = sum + sums[12 + j][c];
        }
        for (int i = 0; i < 3; ++i) {
          const float sum = 0.5f * (t[i][1] + t[i][2]);
          const float taps[3] = {t[i][0] + sum, 0.5f * (t[i][1] - t[i][2]), sum + t[i][3]};
          for (int j = 0; j < 3; ++j) {
            float& to = dw[(3 * i + j) * channels + c];
            to = accumulate ? to + taps[j] : taps[j];
          }
        }
      }
    });
  }

  const Tiles tiles_;
  const Registers registers_;
  const int64_t channels_, filters_, paddedFilters_, panels_, block_;
  const float* const x_;
  const float* const dy_;
  float* const dw_;
  const bool accumulate_;
  const int threads_;
};

}  // namespace

// 1.5 to 1.8 times as fast as the direct algorithm; a thread's sums must be repaid by its tiles.
bool prefersWinogradWeight(const WinogradProblem& problem, int threads) {
  constexpr int64_t fewestTiles = 96;  // of a thread
  return prefersWinograd(problem) && Tiles(problem).count() >= fewestTiles * threads;
}

std::unique_ptr<Kernel> winogradBackwardWeight(const WinogradProblem& problem, const float* x,
                                               const float* dy, float* dw, bool accumulate,
                                               int threads) {
  return std::make_unique<WinogradWeight>(problem, x, dy, dw, accumulate, threads);
}

}  // namespace onehour::cpu
