#include "bmp.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "limits.h"

namespace onehour::data {
namespace {

using File = std::span<const uint8_t>;
using Color = std::array<uint8_t, 3>;

constexpr size_t kFileHeader = 14;  // bytes
constexpr size_t kCoreHeader = 12;  // of OS/2 and Windows 2, with sizes of 16 bits
constexpr std::array<uint32_t, 6> kHeaders{40, 52, 56, 64, 108, 124};
constexpr std::array<uint32_t, 6> kDepths{1, 4, 8, 16, 24, 32};  // bits of a pixel
constexpr size_t kMasks = kFileHeader + 40;  // where they lie, in the header or after it

enum Compression : uint32_t { plain = 0, packed8 = 1, packed4 = 2, masked = 3 };

// Bytes of the file from a place on, as a little-endian number.
uint32_t number(File file, size_t at, size_t bytes) {
  if (at + bytes > file.size()) throw std::runtime_error("it is cut short");
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= uint32_t{file[at + i]} << (8 * i);
  return value;
}

struct Header {
  int64_t width;
  int64_t height;
  bool isTopDown;
  uint32_t bits;  // of a pixel
  uint32_t compression;
  size_t palette;  // its place
  uint32_t colors;
  size_t colorBytes;
  size_t pixels;  // their place
};

Header headerOf(File file) {
  const uint32_t size = number(file, kFileHeader, 4);
  const bool isCore = size == kCoreHeader;
  if (!isCore && std::ranges::find(kHeaders, size) == kHeaders.end()) {
    throw std::runtime_error("its header has " + std::to_string(size) +
                             " bytes; expected 12, 40, 52, 56, 64, 108 or 124");
  }
  const size_t at = kFileHeader + 4;
  Header header{};
  header.width = static_cast<int32_t>(number(file, at, isCore ? 2 : 4));
  header.height = static_cast<int32_t>(number(file, at + (isCore ? 2 : 4), isCore ? 2 : 4));
  header.isTopDown = header.height < 0;
  header.height = std::abs(header.height);
  header.bits = number(file, at + (isCore ? 6 : 10), 2);
  header.compression = isCore ? plain : number(file, at + 12, 4);
  header.palette = kFileHeader + size;
  if (header.compression == masked && size == kHeaders[0]) header.palette = kMasks + 3 * 4;
  header.colors = isCore ? 0 : number(file, at + 28, 4);
  header.colorBytes = isCore ? 3 : 4;
  header.pixels = number(file, 10, 4);
  requireSize(header.width, header.height);
  const bool hasPalette = header.bits <= 8;
  if (hasPalette && header.colors == 0) header.colors = 1U << header.bits;
  // Some writers give the place of the pixels and leave out the palette.
  if (header.pixels == 0 || (hasPalette && header.pixels == header.palette)) {
    header.pixels = header.palette + (hasPalette ? header.colors * header.colorBytes : 0);
  }
  return header;
}

std::vector<Color> paletteOf(File file, const Header& header) {
  std::vector<Color> palette(size_t{1} << header.bits);
  const size_t known = std::min<size_t>(header.colors, palette.size());
  for (size_t i = 0; i < known; ++i) {
    const uint32_t color = number(file, header.palette + i * header.colorBytes, 3);
    palette[i] = {static_cast<uint8_t>(color >> 16), static_cast<uint8_t>(color >> 8),
                  static_cast<uint8_t>(color)};
  }
  return palette;
}

// Where one color's bits lie in a pixel, and how they become a byte.
struct Mask {
  int shift;
  uint32_t most;

  explicit Mask(uint32_t bits) : shift(std::countr_zero(bits)), most(bits ? bits >> shift : 0) {
    if (bits == 0 || !std::has_single_bit(uint64_t{most} + 1)) {
      throw std::runtime_error("the bits of its colors are apart or missing");
    }
  }

  uint8_t of(uint32_t pixel) const {
    return static_cast<uint8_t>(uint64_t{pixel >> shift & most} * 255 / most);
  }
};

// Of red, green and blue.
std::array<Mask, 3> masksOf(File file, const Header& header) {
  std::array<uint32_t, 3> bits{0xff0000, 0xff00, 0xff};
  if (header.compression == masked) {
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = number(file, kMasks + 4 * i, 4);
    // Other decoders take this for none.
    if (header.bits == 32 && bits == std::array<uint32_t, 3>{}) bits = {0xff0000, 0xff00, 0xff};
  } else if (header.bits == 16) {
    bits = {0x7c00, 0x3e0, 0x1f};
  }
  return {Mask(bits[0]), Mask(bits[1]), Mask(bits[2])};
}

// Rows as they lie in the file.
void readRows(File file, const Header& header, Raster& raster) {
  const auto pitch = static_cast<size_t>((header.width * header.bits + 31) / 32 * 4);
  const auto palette = header.bits <= 8 ? paletteOf(file, header) : std::vector<Color>();
  const auto masks = masksOf(file, header);
  for (int row = 0; row < raster.height; ++row) {
    const File line = file.subspan(header.pixels + row * pitch, pitch);
    for (int column = 0; column < raster.width; ++column) {
      uint8_t* pixel = raster.at(row, column);
      if (header.bits <= 8) {
        const size_t bit = static_cast<size_t>(column) * header.bits;
        const size_t index = line[bit / 8] >> (8 - header.bits - bit % 8) & (palette.size() - 1);
        std::ranges::copy(palette[index], pixel);
      } else {
        const size_t bytes = header.bits / 8;
        const uint32_t value = number(line, static_cast<size_t>(column) * bytes, bytes);
        for (size_t c = 0; c < masks.size(); ++c) pixel[c] = masks[c].of(value);
      }
    }
  }
}

// Pixels as runs and copies, of four or eight bits. What they pass over has the first color.
void unpack(File file, const Header& header, Raster& raster) {
  const auto palette = paletteOf(file, header);
  const bool isNibbles = header.bits == 4;
  for (int row = 0; row < raster.height; ++row) {
    for (int column = 0; column < raster.width; ++column) {
      std::ranges::copy(palette[0], raster.at(row, column));
    }
  }
  int row = 0;
  int column = 0;
  const auto put = [&](uint32_t index) {
    if (column < raster.width) std::ranges::copy(palette[index], raster.at(row, column++));
  };
  const auto nibble = [](uint32_t byte, uint32_t i) { return i % 2 == 0 ? byte >> 4 : byte & 15; };
  size_t at = header.pixels;
  while (row < raster.height) {
    const uint32_t count = number(file, at, 1);
    const uint32_t value = number(file, at + 1, 1);
    at += 2;
    if (count > 0) {
      for (uint32_t i = 0; i < count; ++i) put(isNibbles ? nibble(value, i) : value);
    } else if (value == 0) {  // the row's end
      ++row;
      column = 0;
    } else if (value == 1) {  // the image's
      return;
    } else if (value == 2) {  // further on
      column = std::min(raster.width, column + static_cast<int>(number(file, at, 1)));
      row += static_cast<int>(number(file, at + 1, 1));
      at += 2;
    } else {
      for (uint32_t i = 0; i < value; ++i) {
        const uint32_t byte = number(file, at + (isNibbles ? i / 2 : i), 1);
        put(isNibbles ? nibble(byte, i) : byte);
      }
      const size_t bytes = isNibbles ? (value + 1) / 2 : value;
      at += bytes + bytes % 2;
    }
    // The last row needs no end where it is full.
    if (row == raster.height - 1 && column >= raster.width) return;
  }
}

bool isKnown(const Header& header) {
  switch (header.compression) {
    case plain:
      return std::ranges::find(kDepths, header.bits) != kDepths.end();
    case packed8:
      return header.bits == 8;
    case packed4:
      return header.bits == 4;
    case masked:
      return header.bits == 16 || header.bits == 24 || header.bits == 32;
    default:
      return false;
  }
}

void turnOver(Raster& raster) {
  const size_t pitch = static_cast<size_t>(raster.width) * 3;
  for (int row = 0; row < raster.height / 2; ++row) {
    std::swap_ranges(raster.at(row, 0), raster.at(row, 0) + pitch,
                     raster.at(raster.height - 1 - row, 0));
  }
}

}  // namespace

bool isBmp(File file) { return file.size() >= 2 && file[0] == 'B' && file[1] == 'M'; }

Raster decodeBmp(File file) {
  const Header header = headerOf(file);
  if (!isKnown(header)) {
    throw std::runtime_error("it has " + std::to_string(header.bits) +
                             " bits a pixel in compression " + std::to_string(header.compression) +
                             ", which is not read here");
  }
  const bool isPacked = header.compression == packed8 || header.compression == packed4;
  // Before memory is taken for its pixels.
  const int64_t bytes = isPacked ? 2 : (header.width * header.bits + 31) / 32 * 4 * header.height;
  if (static_cast<int64_t>(header.pixels) + bytes > std::ssize(file)) {
    throw std::runtime_error("it is cut short");
  }
  Raster raster{static_cast<int>(header.width), static_cast<int>(header.height),
                std::vector<uint8_t>(static_cast<size_t>(header.width * header.height) * 3)};
  if (isPacked) {
    unpack(file, header, raster);
  } else {
    readRows(file, header, raster);
  }
  if (!header.isTopDown) turnOver(raster);
  return raster;
}

}  // namespace onehour::data
