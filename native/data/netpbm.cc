#include "netpbm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "limits.h"

namespace onehour::data {
namespace {

constexpr int kMostValue = 65535;
constexpr int kColors = 3;

bool isSpace(uint8_t letter) { return letter == ' ' || (letter >= '\t' && letter <= '\r'); }

// Numbers between blanks and comments, which go from # to the line's end.
class Text {
 public:
  explicit Text(std::span<const uint8_t> rest) : rest_(rest) {}

  // The next number, and the blank after it.
  int number() {
    skipBlanks();
    int value = 0;
    size_t digits = 0;
    for (; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
      value = value * 10 + (rest_[digits] - '0');
      if (value > kMostValue) throw std::runtime_error("it has a number above 65535");
    }
    rest_ = rest_.subspan(digits);
    const bool ends = rest_.empty() || isSpace(rest_[0]) || rest_[0] == '#';
    if (digits == 0 || !ends) fail();
    if (!rest_.empty() && isSpace(rest_[0])) rest_ = rest_.subspan(1);
    return value;
  }

  // The next digit that is 0 or 1, which needs no blank after it.
  int bit() {
    skipBlanks();
    if (rest_.empty() || (rest_[0] != '0' && rest_[0] != '1')) fail();
    const int value = rest_[0] - '0';
    rest_ = rest_.subspan(1);
    return value;
  }

  std::span<const uint8_t> rest() const { return rest_; }

 private:
  void skipBlanks() {
    bool inComment = false;
    const auto end = std::ranges::find_if(rest_, [&](uint8_t letter) {
      if (letter == '#') inComment = true;
      const bool passed = inComment || isSpace(letter);
      if (letter == '\n' || letter == '\r') inComment = false;
      return !passed;
    });
    rest_ = rest_.subspan(static_cast<size_t>(end - rest_.begin()));
  }

  [[noreturn]] void fail() const {
    throw std::runtime_error(rest_.empty() ? "it is cut short"
                                           : "it has something else where a number should be");
  }

  std::span<const uint8_t> rest_;
};

struct Kind {
  bool isText;
  int channels;
  bool isBits;  // 1 is black
};

// By the digit after the P.
constexpr std::array<Kind, 6> kKinds{{{true, 1, true},
                                      {true, 1, false},
                                      {true, kColors, false},
                                      {false, 1, true},
                                      {false, 1, false},
                                      {false, kColors, false}}};

// Binary values, one after the other; rows of bits end at whole bytes.
class Values {
 public:
  Values(std::span<const uint8_t> bytes, const Kind& kind, int64_t width, int64_t height, int most)
      : bytes_(bytes), wide_(most > 255), bits_(kind.isBits) {
    pitch_ = kind.isBits ? (width + 7) / 8 : width * kind.channels * (wide_ ? 2 : 1);
    if (pitch_ * height > std::ssize(bytes)) throw std::runtime_error("it is cut short");
  }

  int at(int64_t row, int64_t value) const {
    const auto* line = bytes_.data() + row * pitch_;
    if (bits_) return line[value / 8] >> (7 - value % 8) & 1;
    return wide_ ? line[2 * value] << 8 | line[2 * value + 1] : line[value];
  }

 private:
  std::span<const uint8_t> bytes_;
  bool wide_;
  bool bits_;
  int64_t pitch_;
};

}  // namespace

bool isNetpbm(std::span<const uint8_t> file) {
  return file.size() >= 3 && file[0] == 'P' && file[1] >= '1' && file[1] <= '6' &&
         (isSpace(file[2]) || file[2] == '#');
}

Raster decodeNetpbm(std::span<const uint8_t> file) {
  const Kind& kind = kKinds[static_cast<size_t>(file[1] - '1')];
  Text text(file.subspan(2));
  const int width = text.number();
  const int height = text.number();
  const int most = kind.isBits ? 1 : text.number();
  requireSize(width, height);
  if (most < 1) throw std::runtime_error("its largest value is 0");
  std::vector<uint8_t> levels;
  for (int value = 0; value <= most; ++value) {
    const double level = std::nearbyint(value * 255.0 / most);
    levels.push_back(static_cast<uint8_t>(kind.isBits ? 255 - level : level));
  }
  const auto levelOf = [&](int value) {
    if (value > most) throw std::runtime_error("it has a value above its largest");
    return levels[static_cast<size_t>(value)];
  };

  // What is too short for its pixels is refused before memory is taken for them.
  const int64_t values = int64_t{width} * height * kind.channels;
  if (kind.isText && std::ssize(text.rest()) < values) throw std::runtime_error("it is cut short");
  const Values binary(text.rest(), kind, width, kind.isText ? 0 : height, most);
  Raster raster{width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * kColors)};
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width; ++column) {
      uint8_t* pixel = raster.at(row, column);
      for (int c = 0; c < kind.channels; ++c) {
        pixel[c] = levelOf(!kind.isText  ? binary.at(row, int64_t{column} * kind.channels + c)
                           : kind.isBits ? text.bit()
                                         : text.number());
      }
      if (kind.channels == 1) pixel[1] = pixel[2] = pixel[0];
    }
  }
  return raster;
}

}  // namespace onehour::data
