// Tests of the formats that are decoded whole: what damaged files do to them, and what Pillow,
// which the other tests compare with, reads otherwise.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../data/bmp.h"
#include "../../data/gif.h"
#include "../../data/netpbm.h"
#include "../check.h"

namespace onehour::test {
namespace {

using Bytes = std::vector<uint8_t>;
using Decode = data::Raster (*)(std::span<const uint8_t>);

const std::map<std::string, Decode> kDecoders{{".bmp", data::decodeBmp},
                                              {".gif", data::decodeGif},
                                              {".pbm", data::decodeNetpbm},
                                              {".pgm", data::decodeNetpbm},
                                              {".ppm", data::decodeNetpbm}};

// Whatever a file holds, its decoder returns or throws, and takes no more memory than it may.
void survivesDamage() {
  std::mt19937 random(1);
  int decoded = 0;
  int refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ONEHOUR_IMAGES "/formats")) {
    const auto found = kDecoders.find(entry.path().extension());
    if (found == kDecoders.end()) continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    const Bytes file{std::istreambuf_iterator<char>(stream), {}};
    for (int round = 0; round < 200; ++round) {
      Bytes damaged = file;
      // Headers are short, and most of what goes wrong does so there.
      const size_t reach = round % 3 == 0 ? file.size() : std::min<size_t>(file.size(), 64);
      for (int flips = 0; flips < 1 + round % 4; ++flips) {
        damaged[6 + random() % (reach - 6)] = static_cast<uint8_t>(random());
      }
      if (round % 5 == 0) damaged.resize(6 + random() % (file.size() - 6));
      try {
        const data::Raster raster = found->second(damaged);
        CHECK(raster.pixels.size() == static_cast<size_t>(raster.width) * raster.height * 3);
        ++decoded;
      } catch (const std::runtime_error&) {
        ++refused;
      }
    }
  }
  CHECK(decoded > 100 && refused > 100);
}

// A file that is cut anywhere is refused, or has all of its pixels; but for numbers in letters, of
// which nobody can tell whether the last one goes on.
void refusesEveryCut() {
  for (const auto& entry : std::filesystem::directory_iterator(ONEHOUR_IMAGES "/formats")) {
    const auto found = kDecoders.find(entry.path().extension());
    if (found == kDecoders.end()) continue;
    if (entry.path().filename().string().starts_with("plain")) continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    const Bytes file{std::istreambuf_iterator<char>(stream), {}};
    const data::Raster whole = found->second(file);
    for (size_t size = 6; size < file.size(); ++size) {
      const Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
      try {
        CHECK(found->second(cut).pixels == whole.pixels);
      } catch (const std::runtime_error&) {
      }
    }
  }
}

// A bitmap of 4 × 2 pixels whose codes follow, with a palette of greys.
Bytes packed(uint32_t compression, uint16_t bits, const Bytes& codes) {
  Bytes file{'B', 'M'};
  const auto put = [&](uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) file.push_back(static_cast<uint8_t>(value >> (8 * i)));
  };
  const uint32_t colors = 1U << bits;
  put(0, 4);
  put(0, 4);
  put(54 + 4 * colors, 4);
  for (const uint32_t value : {40U, 4U, 2U}) put(value, 4);
  put(1, 2);
  put(bits, 2);
  for (const uint32_t value : {compression, 0U, 0U, 0U, 0U, 0U}) put(value, 4);
  for (uint32_t i = 0; i < colors; ++i) put(i * 0x10101, 4);
  file.insert(file.end(), codes.begin(), codes.end());
  return file;
}

// The red of the upper row, then that of the lower one.
Bytes redOf(const data::Raster& raster) {
  Bytes red;
  for (size_t i = 0; i < raster.pixels.size(); i += 3) red.push_back(raster.pixels[i]);
  return red;
}

void unpacksBitmaps() {
  // A copy of three nibbles takes two bytes, of which one is padded; then the row's end.
  CHECK(redOf(data::decodeBmp(packed(2, 4, {0, 3, 0x12, 0x30, 0, 0, 4, 0x56, 0, 1}))) ==
        (Bytes{5, 6, 5, 6, 1, 2, 3, 0}));
  // A run ends with the row; the image may end before its pixels, which are then of color 0.
  CHECK(redOf(data::decodeBmp(packed(1, 8, {200, 7, 0, 0, 0, 1}))) ==
        (Bytes{0, 0, 0, 0, 7, 7, 7, 7}));
  // A move to the right and up, past the last row.
  CHECK(redOf(data::decodeBmp(packed(1, 8, {1, 9, 0, 2, 1, 1, 1, 8, 0, 2, 255, 255}))) ==
        (Bytes{0, 0, 8, 0, 9, 0, 0, 0}));
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"survives damage", survivesDamage},
              {"refuses every cut", refusesEveryCut},
              {"unpacks bitmaps", unpacksBitmaps}});
}
