#include "resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../cpu/runtime/simd.h"

namespace onehour::data {
namespace {

constexpr int kColors = 3;
using Color = float __attribute__((vector_size(16)));  // red, green, blue, and one to spare
using Integers = int32_t __attribute__((vector_size(16)));
using Bytes = uint8_t __attribute__((vector_size(4)));

}  // namespace

void Filter::make(const Span& span, int size) {
  taps.clear();
  weights.clear();
  most = 0;
  const double reach = std::max(span.scale, 1.0);  // pixels to each side of a centre
  for (int i = 0; i < size; ++i) {
    const double centre = span.offset + (i + 0.5) * span.scale;
    // Pixels whose centres lie within reach; at least the one under the output's own centre.
    const int under = std::clamp(static_cast<int>(std::floor(centre)), span.low, span.high - 1);
    const int low = std::max(span.low, static_cast<int>(std::floor(centre - reach + 0.5)));
    const int high = std::min(span.high, static_cast<int>(std::floor(centre + reach + 0.5)));
    const int start = std::min(low, under);
    const int end = std::max(high, under + 1);
    const auto weight = static_cast<int>(weights.size());
    double sum = 0;
    for (int pixel = start; pixel < end; ++pixel) {
      const double value = std::max(0.0, 1 - std::abs(pixel + 0.5 - centre) / reach);
      weights.push_back(static_cast<float>(value));
      sum += value;
    }
    if (sum <= 0) {
      weights[static_cast<size_t>(weight + under - start)] = 1;
      sum = 1;
    }
    for (size_t w = static_cast<size_t>(weight); w < weights.size(); ++w) {
      weights[w] = static_cast<float>(weights[w] / sum);
    }
    taps.push_back({start, end - start, weight});
    most = std::max(most, end - start);
  }
  first = taps.front().first;
  last = 0;
  for (const Taps& tap : taps) last = std::max(last, tap.first + tap.count);
}

void Resampler::begin(const View& view, int size, uint8_t* target) {
  size_ = size;
  target_ = target;
  across_.make(view.across, size);
  down_.make(view.down, size);
  next_ = down_.first;
  produced_ = 0;
}

void Resampler::expect(int left, int columns) {
  left_ = left;
  pitch_ = static_cast<size_t>(columns) * kColors;
  ring_.resize(pitch_ * static_cast<size_t>(down_.most));
  // A color is loaded as four floats: one more than the last has.
  sums_.resize(static_cast<size_t>(across_.last - across_.first) * kColors + 1);
}

uint8_t* Resampler::row() {
  return ring_.data() + static_cast<size_t>(next_ % down_.most) * pitch_;
}

void Resampler::advance() {
  ++next_;
  while (produced_ < size_) {
    const Filter::Taps& tap = down_.taps[static_cast<size_t>(produced_)];
    if (tap.first + tap.count > next_) return;
    emit();
    ++produced_;
  }
}

// Down first: its sums run over whole rows, and few rows are left to filter across.
void Resampler::emit() {
  const Filter::Taps rows = down_.taps[static_cast<size_t>(produced_)];
  const float* downWeights = down_.weights.data() + rows.weight;
  const size_t skipped = static_cast<size_t>(across_.first - left_) * kColors;
  const auto length = static_cast<int>(sums_.size()) - 1;
  const Filter::Taps* taps = across_.taps.data();
  const float* acrossWeights = across_.weights.data();
  const uint8_t* ring = ring_.data();
  float* sums = sums_.data();
  uint8_t* out = target_ + static_cast<size_t>(produced_) * size_ * kColors;
  cpu::simd([=, pitch = pitch_, most = down_.most, size = size_,
             first = across_.first]() ONEHOUR_INLINE {
    for (int r = 0; r < rows.count; ++r) {
      const uint8_t* source = ring + static_cast<size_t>((rows.first + r) % most) * pitch + skipped;
      const float weight = downWeights[r];
      if (r == 0) {
        for (int i = 0; i < length; ++i) sums[i] = weight * static_cast<float>(source[i]);
      } else {
        for (int i = 0; i < length; ++i) sums[i] += weight * static_cast<float>(source[i]);
      }
    }
    for (int x = 0; x < size; ++x) {
      const float* source = sums + static_cast<ptrdiff_t>(taps[x].first - first) * kColors;
      Color sum{0.5F, 0.5F, 0.5F, 0};
      for (int t = 0; t < taps[x].count; ++t) {
        Color color;
        std::memcpy(&color, source + static_cast<ptrdiff_t>(t) * kColors, sizeof color);
        sum += color * acrossWeights[taps[x].weight + t];
      }
      // Weights add up to 1, so that nothing exceeds 255. The fourth byte is the next color's
      // place.
      const Bytes bytes = __builtin_convertvector(__builtin_convertvector(sum, Integers), Bytes);
      std::memcpy(out + static_cast<ptrdiff_t>(x) * kColors, &bytes,
                  x + 1 < size ? sizeof bytes : kColors);
    }
  });
}

}  // namespace onehour::data
