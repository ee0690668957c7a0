// Tests of crops, resampling and JPEG decoding without Node, and of what damaged files do to them.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../data/crop.h"
#include "../../data/jpeg.h"
#include "../../data/resample.h"
#include "../check.h"

namespace onehour::test {
namespace {

using data::CropDraws;
using data::JpegDecoder;
using data::Resampler;
using data::Span;
using data::View;

using Bytes = std::vector<uint8_t>;

constexpr int kColors = 3;

std::string folder() { return ONEHOUR_IMAGES; }

Bytes read(const std::string& name) {
  std::ifstream file(folder() + "/" + name, std::ios::binary);
  CHECK(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

CropDraws draws(double area, double aspect) {
  CropDraws result{};
  for (int i = 0; i < CropDraws::kAttempts; ++i) {
    result.area[i] = area;
    result.aspect[i] = aspect;
  }
  result.right = 0.999;
  return result;
}

bool isSpan(const Span& span, int low, int high) { return span.low == low && span.high == high; }

void cropsInside() {
  // A quarter of 400 × 300 pixels at the image's own aspect: 200 × 150.
  const View quarter = data::trainingView(400, 300, 10, draws(0.25, 4.0 / 3));
  CHECK(isSpan(quarter.across, 200, 400) && isSpan(quarter.down, 0, 150));
  CHECK(quarter.across.scale == 20 && quarter.down.scale == 15);
  // The first attempt is too wide, the second fits.
  CropDraws two = draws(1, 2);
  two.aspect[1] = 4.0 / 3;
  const View second = data::trainingView(400, 300, 10, two);
  CHECK(isSpan(second.across, 0, 400) && isSpan(second.down, 0, 300));
}

void fallsBackToTheCentre() {
  // Nothing fits: the largest part with an aspect between 3/4 and 4/3.
  const View wide = data::trainingView(1000, 90, 10, draws(1, 1));
  CHECK(isSpan(wide.across, 440, 560) && isSpan(wide.down, 0, 90));
  const View tall = data::trainingView(90, 1000, 10, draws(1, 1));
  CHECK(isSpan(tall.across, 0, 90) && isSpan(tall.down, 440, 560));
}

void evaluatesTheCentre() {
  // 500 × 375 becomes 341 × 256, whose centre begins at 58.5 (rounded to even: 58) and 16.
  const View view = data::evaluationView(500, 375, 224, 256);
  CHECK(view.across.scale == 500.0 / 341 && view.across.offset == 58 * 500.0 / 341);
  CHECK(view.down.scale == 375.0 / 256 && view.down.offset == 16 * 375.0 / 256);
  CHECK(isSpan(view.across, 0, 500) && isSpan(view.down, 0, 375));
}

Bytes resample(const Bytes& pixels, int width, const View& view, int size) {
  Bytes result(static_cast<size_t>(size) * size * kColors);
  Resampler resampler;
  resampler.begin(view, size, result.data());
  resampler.expect(0, width);
  for (int row = resampler.firstRow(); row < resampler.lastRow(); ++row) {
    const auto* source = pixels.data() + static_cast<size_t>(row) * width * kColors;
    std::copy(source, source + static_cast<size_t>(width) * kColors, resampler.row());
    resampler.advance();
  }
  return result;
}

void resamplesExactly() {
  constexpr int width = 9;
  constexpr int height = 7;
  Bytes pixels(static_cast<size_t>(width) * height * kColors);
  std::iota(pixels.begin(), pixels.end(), 0);
  // At its own scale a part is copied.
  const View same{{2, 1, 2, 6}, {1, 1, 1, 5}};
  const Bytes copied = resample(pixels, width, same, 4);
  for (int y = 0; y < 4; ++y) {
    for (int x = 0; x < 4 * kColors; ++x) {
      CHECK(copied[static_cast<size_t>(y) * 4 * kColors + x] ==
            pixels[static_cast<size_t>(y + 1) * width * kColors + 2 * kColors + x]);
    }
  }
  // A flat color stays what it is at any scale, to the edges.
  const Bytes flat(pixels.size(), 201);
  for (const double scale : {0.1, 0.77, 1.0, 1.3, 2.5}) {
    const int size = static_cast<int>(7 / scale);
    const View whole{{0, width / static_cast<double>(size), 0, width},
                     {0, height / static_cast<double>(size), 0, height}};
    for (const uint8_t value : resample(flat, width, whole, size)) CHECK(value == 201);
  }
  // To half its size with a triangle of four pixels: (1, 3, 3, 1) / 8 within the image.
  const Bytes step{0, 0, 0, 0, 0, 0, 80, 80, 80, 80, 80, 80};
  const Bytes halved = resample(step, 4, {{0, 2, 0, 4}, {0, 0.5, 0, 1}}, 2);
  CHECK(halved[0] == 11 && halved[3] == 69);  // 80 · 1/7 and 80 · 6/7, the weights inside adding up
}

// A part decoded by itself has the pixels of the whole image.
void decodesPartsLikeTheWhole() {
  for (const char* name : {"wide.jpg", "tall.jpg", "progressive.jpg", "grey.jpg"}) {
    const Bytes file = read(name);
    JpegDecoder decoder;
    int width = 0;
    int height = 0;
    constexpr int size = 32;
    const auto part = [&](int left, int top) {
      Bytes result(size * size * kColors);
      const std::string damage = decoder.decode(
          file, size,
          [&](int w, int h) {
            width = w;
            height = h;
            const int x = std::min(left, w - size);
            const int y = std::min(top, h - size);
            return View{{static_cast<double>(x), 1, x, x + size},
                        {static_cast<double>(y), 1, y, y + size}};
          },
          result.data());
      CHECK(damage.empty());
      return result;
    };
    // The same pixels, decoded as the start of one part and the inside of another.
    const Bytes first = part(0, 0);
    for (const int shift : {1, 7, 8, 15, 16, 17}) {
      const Bytes moved = part(shift, shift);
      int most = 0;
      for (int y = shift; y < size; ++y) {
        for (int x = shift * kColors; x < size * kColors; ++x) {
          const int a = first[static_cast<size_t>(y) * size * kColors + x];
          const int b =
              moved[static_cast<size_t>(y - shift) * size * kColors + x - shift * kColors];
          most = std::max(most, std::abs(a - b));
        }
      }
      CHECK(most == 0);
    }
    CHECK(width >= size && height >= size);
    part(width, height);
  }
}

// Whatever a file holds, the decoder returns or throws, and decodes the next file.
void survivesDamage() {
  std::mt19937 random(1);
  JpegDecoder decoder;
  constexpr int size = 24;
  Bytes target(size * size * kColors);
  const auto whole = [](int width, int height) {
    return data::evaluationView(width, height, size, 28);
  };
  int decoded = 0;
  for (const char* name : {"tall.jpg", "progressive.jpg", "grey.jpg", "exif.jpg"}) {
    const Bytes file = read(name);
    for (int round = 0; round < 60; ++round) {
      Bytes damaged = file;
      if (round % 2 == 0) damaged.resize(random() % file.size());
      for (int flips = 0; flips < round % 5; ++flips) {
        if (!damaged.empty()) damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
      }
      try {
        decoder.decode(damaged, size, whole, target.data());
        ++decoded;
      } catch (const std::runtime_error&) {
      }
    }
    CHECK(decoder.decode(file, size, whole, target.data()).empty());
  }
  CHECK(decoded > 20);
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"crops inside", cropsInside},
              {"falls back to the centre", fallsBackToTheCentre},
              {"evaluates the centre", evaluatesTheCentre},
              {"resamples exactly", resamplesExactly},
              {"decodes parts like the whole", decodesPartsLikeTheWhole},
              {"survives damage", survivesDamage}});
}
