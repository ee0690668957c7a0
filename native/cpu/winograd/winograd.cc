// Winograd's F(2×2, 3×3): y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)]A over tiles of 4×4 inputs that give 2×2
// outputs. The products over channels are 16 matrix products, one a point of the transformed tile.
// The gradient with regard to x is the same with dy for x, filters turned by 180° and C and K
// exchanged. Every output is the same sum in the same order for any number of threads.
//
// A thread takes blocks of tiles, so that the transformed inputs stay in its cache:
//   filters   [panel][16][inputs][lanes]   a panel are `lanes` outputs side by side
//   inputs    [16][tiles][inputs + pad]
//   products  [16][tiles][outputs + pad]
#include "winograd.h"

#include <algorithm>

#include "../runtime/parallel.h"
#include "winograd-tiles.h"

namespace onehour::cpu {
namespace {

using namespace winograd;

// The matrix product's tile of registers: `rows` tiles by two vectors of outputs.
constexpr Registers wide{12, 32}, narrow{6, 16};

// G w Gᵀ of one filter and input channel, to u[point·stride].
ONEHOUR_INLINE inline void transformFilter(const float (&w)[9], float* u, int64_t stride) {
  float t[4][3];
  for (int s = 0; s < 3; ++s) {
    const float sum = 0.5f * (w[s] + w[6 + s]), half = 0.5f * w[3 + s];
    t[0][s] = w[s];
    t[1][s] = sum + half;
    t[2][s] = sum - half;
    t[3][s] = w[6 + s];
  }
  for (int i = 0; i < 4; ++i) {
    const float sum = 0.5f * (t[i][0] + t[i][2]), half = 0.5f * t[i][1];
    u[(4 * i + 0) * stride] = t[i][0];
    u[(4 * i + 1) * stride] = sum + half;
    u[(4 * i + 2) * stride] = sum - half;
    u[(4 * i + 3) * stride] = t[i][2];
  }
}

// Transforms of w[K,3,3,C] for outputs k < count ≤ lanes and inputs c in [begin, end), to u[c][k]
// of every point. C is contiguous before and K after, so blocks of 16×16 are turned on the way.
void transformForward(const float* w, int64_t channels, int64_t count, int64_t begin, int64_t end,
                      float* u, int64_t lanes, int64_t stride) {
  constexpr int64_t size = 16;
  simd([=]() ONEHOUR_INLINE {
    float turned[points][size][size];
    for (int64_t c = begin; c < end; c += size) {
      const int64_t width = end - c < size ? end - c : size;
      for (int64_t k = 0; k < count; k += size) {
        const int64_t height = count - k < size ? count - k : size;
        for (int64_t i = 0; i < height; ++i) {
          const float* from = w + (k + i) * 9 * channels + c;
#pragma GCC ivdep
          for (int64_t j = 0; j < width; ++j) {
            float taps[9];
            for (int tap = 0; tap < 9; ++tap) taps[tap] = from[tap * channels + j];
            transformFilter(taps, &turned[0][i][j], size * size);
          }
        }
        for (int64_t point = 0; point < points; ++point) {
          for (int64_t j = 0; j < width; ++j) {
            float* to = u + point * stride + (c + j) * lanes + k;
            for (int64_t i = 0; i < height; ++i) to[i] = turned[point][i][j];
          }
        }
      }
    }
  });
}

// The same for the gradient, whose outputs are the channels of w, and its inputs [begin, end) the
// filters.
void transformBackward(const float* w, int64_t channels, int64_t count, int64_t begin, int64_t end,
                       float* u, int64_t lanes, int64_t stride) {
  simd([=]() ONEHOUR_INLINE {
    for (int64_t k = begin; k < end; ++k) {
      const float* from = w + k * 9 * channels;
      float* to = u + k * lanes;
#pragma GCC ivdep
      for (int64_t c = 0; c < count; ++c) {
        float taps[9];
        for (int tap = 0; tap < 9; ++tap) taps[tap] = from[(8 - tap) * channels + c];
        transformFilter(taps, to + c, stride);
      }
    }
  });
}

// products = inputs·filters, for every point.
template <int bytes, int rows>
void multiplyTiles(const Transformed& inputs, const float* filters, const Transformed& products,
                   int64_t count, int64_t channels, int64_t panels) {
  simd([=]() ONEHOUR_INLINE {
    constexpr int64_t lanes = 2 * bytes / sizeof(float);
    for (int64_t point = 0; point < points; ++point) {
      for (int64_t panel = 0; panel < panels; ++panel) {
        const float* u = filters + (panel * points + point) * channels * lanes;
        for (int64_t tile = 0; tile < count; tile += rows) {
          multiply<bytes, rows, false>(inputs.at(point, tile), inputs.stride, 1, u, lanes, channels,
                                       products.at(point, tile) + panel * lanes, products.stride);
        }
      }
    }
  });
}

// Aᵀ m A of `count` tiles from `first` on. Outputs outside of the image go to `unused`.
void transformProducts(const Tiles& tiles, const Transformed& products, int64_t first,
                       int64_t count, float* y, int64_t channels, float* unused) {
  simd([=]() ONEHOUR_INLINE {
    const auto transform = [=](int64_t tile, int64_t image, int64_t row,
                               int64_t column) ONEHOUR_INLINE {
      float* to[4];
      tiles.pixels<2>(y, channels, image, row, column, unused, to);
      const float* m = products.at(0, tile);
      const int64_t stride = products.pointStride();
#pragma GCC ivdep
      for (int64_t k = 0; k < channels; ++k) {
        float t[2][4];
        for (int j = 0; j < 4; ++j) {
          const float m0 = m[j * stride + k], m1 = m[(4 + j) * stride + k];
          const float m2 = m[(8 + j) * stride + k], m3 = m[(12 + j) * stride + k];
          t[0][j] = m0 + m1 + m2;
          t[1][j] = m1 - m2 - m3;
        }
        for (int i = 0; i < 2; ++i) {
          to[2 * i][k] = t[i][0] + t[i][1] + t[i][2];
          to[2 * i + 1][k] = t[i][1] - t[i][2] - t[i][3];
        }
      }
    };
    tiles.forEach(first, count, transform);
  });
}

// Every block reads all filters once, which for many channels lie beyond the second cache: then
// more tiles share them. Measured best within a few per cent from 12 tiles at 64 channels to 144 at
// 512.
int64_t blockTiles(const WinogradProblem& problem) {
  return std::clamp<int64_t>(std::max(problem.c, problem.k) / 4, 12, 144);
}

class Winograd final : public Kernel {
 public:
  Winograd(const WinogradProblem& problem, bool gradient, const float* x, const float* w, float* y,
           int threads)
      : tiles_(problem),
        gradient_(gradient),
        inputs_(gradient ? problem.k : problem.c),
        outputs_(gradient ? problem.c : problem.k),
        registers_(instructionSet() == InstructionSet::avx512 ? wide : narrow),
        panels_(roundUp(outputs_, registers_.lanes) / registers_.lanes),
        block_(roundUp(blockTiles(problem), registers_.rows)),
        x_(x),
        w_(w),
        y_(y),
        threads_(threads) {}

  size_t workspaceBytes() const override {
    return sizeof(float) * static_cast<size_t>(filterFloats() + threads_ * threadFloats());
  }

  void run(Stream& stream) override {
    float* filters = static_cast<float*>(stream.workspace());
    float* blocks = filters + filterFloats();
    const int threads = std::min(threads_, omp_get_max_threads());
    const int64_t span = roundUp(inputs_, lineFloats);
    parallelRanges(threads, panels_ * span, lineFloats, [&](int, int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t panel = begin / span, first = begin % span;
        const int64_t last = std::min(first + end - begin, span);
        transformFilters(filters, panel, first, std::min(last, inputs_));
        begin += last - first;
      }
    });
    parallelRanges(threads, tiles_.count(), registers_.rows,
                   [&](int thread, int64_t begin, int64_t end) {
                     computeTiles(filters, blocks + thread * threadFloats(), begin, end);
                   });
  }

 private:
  int64_t panelFloats() const { return inputs_ * registers_.lanes; }
  int64_t filterFloats() const { return panels_ * points * panelFloats(); }
  int64_t inputStride() const { return paddedStride(inputs_); }
  int64_t productStride() const { return paddedStride(panels_ * registers_.lanes); }
  int64_t edgeFloats() const { return roundUp(std::max(inputs_, outputs_), lineFloats); }
  int64_t threadFloats() const {
    return points * block_ * (inputStride() + productStride()) + 2 * edgeFloats();
  }

  void transformFilters(float* filters, int64_t panel, int64_t begin, int64_t end) const {
    const int64_t lanes = registers_.lanes, first = panel * lanes;
    const int64_t count = std::min(lanes, outputs_ - first);
    float* u = filters + panel * points * panelFloats();
    if (gradient_) {
      transformBackward(w_ + first, outputs_, count, begin, end, u, lanes, panelFloats());
    } else {
      transformForward(w_ + first * 9 * inputs_, inputs_, count, begin, end, u, lanes,
                       panelFloats());
    }
  }

  // The last rows and lanes of a product may hold anything: nothing reads their results.
  void computeTiles(const float* filters, float* memory, int64_t begin, int64_t end) const {
    const Transformed inputs{memory, block_, inputStride()};
    const Transformed products{inputs.data + points * inputs.pointStride(), block_,
                               productStride()};
    float* zeros = products.data + points * products.pointStride();
    float* unused = zeros + edgeFloats();
    std::fill_n(zeros, edgeFloats(), 0.0f);
    const auto product = registers_.lanes == wide.lanes ? multiplyTiles<64, wide.rows>
                                                        : multiplyTiles<32, narrow.rows>;
    for (; begin < end; begin += block_) {
      const int64_t count = std::min(block_, end - begin);
      transformInputs(tiles_, x_, inputs_, begin, count, zeros, inputs);
      product(inputs, filters, products, count, inputs_, panels_);
      transformProducts(tiles_, products, begin, count, y_, outputs_, unused);
    }
  }

  const Tiles tiles_;
  const bool gradient_;
  const int64_t inputs_, outputs_;  // channels
  const Registers registers_;
  const int64_t panels_, block_;
  const float* const x_;
  const float* const w_;
  float* const y_;
  const int threads_;
};

constexpr int64_t fewestChannels = 32;

}  // namespace

// Measured against oneDNN's direct algorithm: 1.2 times as fast from 32 channels on, 1.5 to 1.9
// from 64. Slower for 16 channels, where the transforms outweigh the products, for sizes whose last
// tiles overhang by much (5×5), and for so few pixels that they do not repay the transformed
// filters.
bool prefersWinograd(const WinogradProblem& problem) {
  constexpr int64_t fewestPixels = 256;
  const int64_t wanted = problem.h * problem.w;
  const int64_t computed = roundUp(problem.h, 2) * roundUp(problem.w, 2);
  return instructionSet() != InstructionSet::baseline && problem.c >= fewestChannels &&
         problem.k >= fewestChannels && problem.n * wanted >= fewestPixels &&
         11 * wanted >= 8 * computed;
}

std::unique_ptr<Kernel> winogradForward(const WinogradProblem& problem, const float* x,
                                        const float* w, float* y, int threads) {
  return std::make_unique<Winograd>(problem, false, x, w, y, threads);
}

std::unique_ptr<Kernel> winogradBackwardData(const WinogradProblem& problem, const float* dy,
                                             const float* w, float* dx, int threads) {
  return std::make_unique<Winograd>(problem, true, dy, w, dx, threads);
}

}  // namespace onehour::cpu
