#include "gif.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <stdexcept>
#include <string_view>

#include "limits.h"

namespace onehour::data {
namespace {

constexpr size_t kColors = 3;
constexpr int kMostCodes = 4096;

using Palette = std::array<std::array<uint8_t, kColors>, 256>;

[[noreturn]] void failCutShort() { throw std::runtime_error("it is cut short"); }

// Reads the file from its start to its end.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> file) : rest_(file) {}

  std::span<const uint8_t> bytes(size_t count) {
    if (count > rest_.size()) failCutShort();
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }

  int byte() { return bytes(1)[0]; }

  int word() {
    const auto two = bytes(2);
    return two[0] | two[1] << 8;
  }

  // One of the blocks that extensions and pixels are cut into; the last one is empty.
  std::span<const uint8_t> block() { return bytes(static_cast<size_t>(byte())); }

  // The flags hold the number of colors; the others are black.
  void palette(int flags, Palette& target) {
    const auto colors = bytes(kColors * (size_t{2} << (flags & 7)));
    target = {};
    for (size_t i = 0; i < colors.size(); ++i) target[i / kColors][i % kColors] = colors[i];
  }

 private:
  std::span<const uint8_t> rest_;
};

// Codes of growing length, from the lowest bit of a byte on, through the blocks.
class Codes {
 public:
  explicit Codes(Reader& reader) : reader_(reader) {}

  int next(int length) {
    while (held_ < length) {
      if (block_.empty()) block_ = reader_.block();
      if (block_.empty()) failCutShort();
      bits_ |= uint32_t{block_[0]} << held_;
      block_ = block_.subspan(1);
      held_ += 8;
    }
    const auto code = static_cast<int>(bits_ & ((1U << length) - 1));
    bits_ >>= length;
    held_ -= length;
    return code;
  }

 private:
  Reader& reader_;
  std::span<const uint8_t> block_;
  uint32_t bits_ = 0;
  int held_ = 0;
};

// The frame's indices (Welch 1984, in GIF's variant).
std::vector<uint8_t> unpack(Reader& reader, size_t pixels) {
  const int bits = reader.byte();
  if (bits < 1 || bits > 8) throw std::runtime_error("the length of its codes is wrong");
  const int clear = 1 << bits;
  // A code is the code before its last index, and that index.
  std::array<int, kMostCodes> before{};
  std::array<uint8_t, kMostCodes> last{};
  for (int code = 0; code < clear; ++code) last[code] = static_cast<uint8_t>(code);

  std::vector<uint8_t> indices;
  indices.reserve(pixels);
  std::array<uint8_t, kMostCodes> reversed{};
  Codes codes(reader);
  int length = bits + 1;
  int known = clear + 2;
  int previous = -1;
  uint8_t first = 0;  // index of the previous code
  while (indices.size() < pixels) {
    const int code = codes.next(length);
    if (code == clear) {
      length = bits + 1;
      known = clear + 2;
      previous = -1;
      continue;
    }
    if (code == clear + 1) failCutShort();
    // A code may be the one that it makes itself.
    const bool isNew = code == known && previous >= 0 && known < kMostCodes;
    if (code >= (previous < 0 ? clear : known) && !isNew) {
      throw std::runtime_error("it has a code that means nothing");
    }
    size_t count = 0;
    if (isNew) reversed[count++] = first;
    int walked = isNew ? previous : code;
    for (; walked >= clear; walked = before[walked]) reversed[count++] = last[walked];
    first = static_cast<uint8_t>(walked);
    reversed[count++] = first;
    while (count > 0 && indices.size() < pixels) indices.push_back(reversed[--count]);
    if (previous >= 0 && known < kMostCodes) {
      before[known] = previous;
      last[known] = first;
      ++known;
      if (known == 1 << length && length < 12) ++length;
    }
    previous = code;
  }
  return indices;
}

// The row of the frame that comes as number `row`, where every eighth comes first.
int interlacedRow(int row, int height) {
  constexpr struct {
    int start;
    int step;
  } passes[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
  for (const auto& [start, step] : passes) {
    const int rows = (height - start + step - 1) / step;
    if (row < rows) return start + row * step;
    row -= std::max(0, rows);
  }
  return height - 1;
}

}  // namespace

bool isGif(std::span<const uint8_t> file) {
  const std::string_view start(reinterpret_cast<const char*>(file.data()),
                               std::min<size_t>(file.size(), 6));
  return start == "GIF87a" || start == "GIF89a";
}

Raster decodeGif(std::span<const uint8_t> file) {
  Reader reader(file.subspan(6));
  const int screenWidth = reader.word();
  const int screenHeight = reader.word();
  const int screenFlags = reader.byte();
  reader.bytes(2);
  Palette palette;
  for (size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<uint8_t>(i));
  if (screenFlags & 0x80) reader.palette(screenFlags, palette);

  uint8_t background = 0;
  for (;;) {
    const int kind = reader.byte();
    if (kind == 0x2c) break;
    if (kind != 0x21) throw std::runtime_error("it holds no frame");
    const bool isControl = reader.byte() == 0xf9;
    for (auto block = reader.block(); !block.empty(); block = reader.block()) {
      if (isControl && block.size() >= 4 && block[0] & 1) background = block[3];
    }
  }
  const int left = reader.word();
  const int top = reader.word();
  const int width = reader.word();
  const int height = reader.word();
  const int flags = reader.byte();
  if (flags & 0x80) reader.palette(flags, palette);
  // A frame that is larger than the screen makes it larger.
  const int64_t wholeWidth = std::max(screenWidth, left + width);
  const int64_t wholeHeight = std::max(screenHeight, top + height);
  requireSize(wholeWidth, wholeHeight);
  requireSize(width, height);

  const auto indices = unpack(reader, static_cast<size_t>(width) * height);
  Raster raster{static_cast<int>(wholeWidth), static_cast<int>(wholeHeight),
                std::vector<uint8_t>(static_cast<size_t>(wholeWidth * wholeHeight) * kColors)};
  for (auto* pixel = raster.pixels.data(); pixel < raster.pixels.data() + raster.pixels.size();
       pixel += kColors) {
    std::ranges::copy(palette[background], pixel);
  }
  for (int row = 0; row < height; ++row) {
    const int place = flags & 0x40 ? interlacedRow(row, height) : row;
    const auto* line = &indices[static_cast<size_t>(row) * width];
    uint8_t* pixel = raster.at(top + place, left);
    for (int column = 0; column < width; ++column, pixel += kColors) {
      std::ranges::copy(palette[line[column]], pixel);
    }
  }
  return raster;
}

}  // namespace onehour::data
