// Tests of JPEG's sampling factors: whatever they are, a part that is decoded at a smaller size is
// that of the whole image, decoded as it is.

// jpeglib.h needs FILE and size_t to be there.
#include <cstdio>
// What fails in it comes back by longjmp.
#include <jpeglib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../data/crop.h"
#include "../../data/jpeg.h"
#include "../../data/resample.h"
#include "../check.h"

namespace onehour::test {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr int kColors = 3;
constexpr int kWidth = 141;
constexpr int kHeight = 133;
constexpr int kMostFactor = 4;

// Horizontal and vertical factors of Y, Cb and Cr.
using Factors = std::array<int, 2 * kColors>;

// libjpeg's limit for components that share a scan.
constexpr int kMostBlocks = 10;

struct Failing {
  jpeg_error_mgr errors{};
  std::jmp_buf failed{};

  Failing() {
    jpeg_std_error(&errors);
    errors.error_exit = [](j_common_ptr common) {
      std::longjmp(reinterpret_cast<Failing*>(common->err)->failed, 1);
    };
  }
};

// Smooth in both directions and different in each component, at (x, y) in [0, 1].
uint8_t value(int component, double x, double y) {
  const double waves[] = {std::sin(5 * x) * std::cos(4 * y), std::sin(3 * x + 4 * y),
                          std::cos(4 * x - 5 * y)};
  return static_cast<uint8_t>(std::lround(127 + 70 * waves[component]));
}

// A JPEG file with these factors. Its components are written as they are to be stored, so that
// factors need not divide each other; they share a scan where they may.
Bytes encode(const Factors& factors) {
  const int across = std::max({factors[0], factors[2], factors[4]});
  const int down = std::max({factors[1], factors[3], factors[5]});
  int blocks = 0;
  for (int c = 0; c < kColors; ++c) blocks += factors[2 * c] * factors[2 * c + 1];
  const int groups = (kHeight + down * DCTSIZE - 1) / (down * DCTSIZE);
  const int units = (kWidth + across * DCTSIZE - 1) / (across * DCTSIZE);

  std::vector<Bytes> planes;
  for (int c = 0; c < kColors; ++c) {
    const int width = units * factors[2 * c] * DCTSIZE;
    const int height = groups * factors[2 * c + 1] * DCTSIZE;
    Bytes plane;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x)
        plane.push_back(value(c, (x + 0.5) / width, (y + 0.5) / height));
    }
    planes.push_back(std::move(plane));
  }
  jpeg_scan_info scans[kColors]{};
  for (int c = 0; c < kColors; ++c) scans[c] = {1, {c, 0, 0, 0}, 0, DCTSIZE2 - 1, 0, 0};
  std::vector<std::vector<JSAMPROW>> rows(kColors);

  Failing failing;
  jpeg_compress_struct info{};
  info.err = &failing.errors;
  unsigned char* file = nullptr;
  unsigned long bytes = 0;
  if (setjmp(failing.failed) != 0) throw std::runtime_error("cannot encode");
  jpeg_create_compress(&info);
  jpeg_mem_dest(&info, &file, &bytes);
  info.image_width = kWidth;
  info.image_height = kHeight;
  info.input_components = kColors;
  info.in_color_space = JCS_YCbCr;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  info.raw_data_in = TRUE;
  for (int c = 0; c < kColors; ++c) {
    info.comp_info[c].h_samp_factor = factors[2 * c];
    info.comp_info[c].v_samp_factor = factors[2 * c + 1];
  }
  if (blocks > kMostBlocks) {
    info.scan_info = scans;
    info.num_scans = kColors;
  }
  jpeg_start_compress(&info, TRUE);
  for (int group = 0; group < groups; ++group) {
    JSAMPARRAY arrays[kColors];
    for (int c = 0; c < kColors; ++c) {
      const size_t pitch = static_cast<size_t>(units) * factors[2 * c] * DCTSIZE;
      const int height = factors[2 * c + 1] * DCTSIZE;
      rows[c].clear();
      for (int y = 0; y < height; ++y) rows[c].push_back(&planes[c][(group * height + y) * pitch]);
      arrays[c] = rows[c].data();
    }
    jpeg_write_raw_data(&info, arrays, static_cast<JDIMENSION>(down * DCTSIZE));
  }
  jpeg_finish_compress(&info);
  Bytes result(file, file + bytes);
  jpeg_destroy_compress(&info);
  std::free(file);
  return result;
}

// All of the image as it is; empty where libjpeg does not decode it.
Bytes decodeWhole(const Bytes& file) {
  Bytes pixels(static_cast<size_t>(kWidth) * kHeight * kColors);
  Failing failing;
  jpeg_decompress_struct info{};
  info.err = &failing.errors;
  jpeg_create_decompress(&info);
  if (setjmp(failing.failed) != 0) {
    jpeg_destroy_decompress(&info);
    return {};
  }
  jpeg_mem_src(&info, file.data(), file.size());
  jpeg_read_header(&info, TRUE);
  jpeg_start_decompress(&info);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = &pixels[static_cast<size_t>(info.output_scanline) * kWidth * kColors];
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_destroy_decompress(&info);
  return pixels;
}

Bytes resample(const Bytes& pixels, const data::View& view, int size) {
  Bytes result(static_cast<size_t>(size) * size * kColors);
  data::Resampler resampler;
  resampler.begin(view, size, result.data());
  resampler.expect(0, kWidth);
  for (int row = resampler.firstRow(); row < resampler.lastRow(); ++row) {
    const auto* source = pixels.data() + static_cast<size_t>(row) * kWidth * kColors;
    std::copy(source, source + kWidth * kColors, resampler.row());
    resampler.advance();
  }
  return result;
}

struct Difference {
  double mean;
  int most;
};

Difference differenceOf(const Bytes& a, const Bytes& b) {
  double sum = 0;
  int most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const int difference = std::abs(a[i] - b[i]);
    sum += difference;
    most = std::max(most, difference);
  }
  return {sum / static_cast<double>(a.size()), most};
}

constexpr int kSize = 8;  // pixels of an output's sides
// Sides of parts that are decoded at 1, 1/2, 1/4 and 1/8 of the size where that is allowed.
constexpr int kSides[] = {12, 32, 64, 128};

data::View viewAt(int left, int top, int side) {
  const double scale = static_cast<double>(side) / kSize;
  return {{static_cast<double>(left), scale, left, left + side},
          {static_cast<double>(top), scale, top, top + side}};
}

// The largest differences of parts of each scale and place from those of the whole image; nothing
// where libjpeg decodes neither, as where a factor does not divide the largest.
std::optional<Difference> largestDifference(const Factors& factors) {
  const Bytes file = encode(factors);
  const Bytes whole = decodeWhole(file);
  data::JpegDecoder decoder;
  Difference largest{0, 0};
  Bytes target(kSize * kSize * kColors);
  for (const int side : kSides) {
    for (const double place : {0.0, 0.3, 1.0}) {
      const data::View view = viewAt(static_cast<int>((kWidth - side) * place),
                                     static_cast<int>((kHeight - side) * place), side);
      try {
        const std::string damage = decoder.decode(
            file, kSize, [&](int, int) { return view; }, target.data());
        CHECK(damage.empty() && !whole.empty());
      } catch (const std::runtime_error&) {
        CHECK(whole.empty());
      }
      if (whole.empty()) continue;
      const Difference found = differenceOf(target, resample(whole, view, kSize));
      largest = {std::max(largest.mean, found.mean), std::max(largest.most, found.most)};
    }
  }
  if (whole.empty()) return std::nullopt;
  return largest;
}

std::string nameOf(const Factors& factors) {
  std::string name;
  for (int c = 0; c < kColors; ++c) {
    name += std::to_string(factors[2 * c]) + "x" + std::to_string(factors[2 * c + 1]) + " ";
  }
  return name;
}

void decodesEverySampling() {
  int all = 1;
  for (int i = 0; i < 2 * kColors; ++i) all *= kMostFactor;
  int decoded = 0;
  for (int number = 0; number < all; ++number) {
    Factors factors;
    int blocks = 0;
    for (int i = 0, rest = number; i < 2 * kColors; ++i, rest /= kMostFactor) {
      factors[i] = 1 + rest % kMostFactor;
      if (i % 2 == 1) blocks += factors[i - 1] * factors[i];
    }
    // Of those that need a scan for each component, some: the decoder does not tell them apart.
    if (blocks > kMostBlocks && number % 61 != 0) continue;
    const auto found = largestDifference(factors);
    if (!found) continue;
    ++decoded;
    // Where libjpeg shrinks, it rounds, and repeats colors that have fewer values across than down.
    const bool isUsual = std::ranges::max(factors) <= 2;
    const bool isLike = isUsual ? found->mean < 2 && found->most < 16 : found->most == 0;
    if (!isLike) {
      std::fprintf(stderr, "factors %s: %.2f grey levels on average, %d at most\n",
                   nameOf(factors).c_str(), found->mean, found->most);
    }
    CHECK(isLike);
  }
  CHECK(decoded > 300);
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"decodes every sampling like the whole", decodesEverySampling}});
}
