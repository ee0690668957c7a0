#include "crop.h"

#include <cmath>

namespace onehour::data {
namespace {

constexpr double kNarrowest = 3.0 / 4;
constexpr double kWidest = 4.0 / 3;

struct Size {
  int width;
  int height;
};

Span stretched(int start, int length, int size) {
  return {.offset = static_cast<double>(start),
          .scale = static_cast<double>(length) / size,
          .low = start,
          .high = start + length};
}

Size largestCrop(int width, int height) {
  const double aspect = static_cast<double>(width) / height;
  if (aspect < kNarrowest) {
    return {width, static_cast<int>(std::lround(width / kNarrowest))};
  }
  if (aspect > kWidest) {
    return {static_cast<int>(std::lround(height * kWidest)), height};
  }
  return {width, height};
}

}  // namespace

View trainingView(int width, int height, int size, const CropDraws& draws) {
  const double pixels = static_cast<double>(width) * height;
  for (int attempt = 0; attempt < CropDraws::kAttempts; ++attempt) {
    const double area = pixels * draws.area[attempt];
    const Size crop{static_cast<int>(std::lround(std::sqrt(area * draws.aspect[attempt]))),
                    static_cast<int>(std::lround(std::sqrt(area / draws.aspect[attempt])))};
    if (crop.width < 1 || crop.width > width || crop.height < 1 || crop.height > height) continue;
    const int left = static_cast<int>(draws.right * (width - crop.width + 1));
    const int top = static_cast<int>(draws.down * (height - crop.height + 1));
    return {stretched(left, crop.width, size), stretched(top, crop.height, size)};
  }
  const Size crop = largestCrop(width, height);
  return {stretched((width - crop.width) / 2, crop.width, size),
          stretched((height - crop.height) / 2, crop.height, size)};
}

View evaluationView(int width, int height, int size, int shortSide) {
  // The longer side is rounded down, and the centre lies on a whole pixel of the resized image.
  const auto resized = [&](int side, int other) {
    return side <= other ? shortSide
                         : static_cast<int>(static_cast<int64_t>(shortSide) * side / other);
  };
  const auto centred = [&](int side, int length) {
    const double scale = static_cast<double>(side) / length;
    const double start = std::nearbyint((length - size) / 2.0);
    return Span{.offset = start * scale, .scale = scale, .low = 0, .high = side};
  };
  return {centred(width, resized(width, height)), centred(height, resized(height, width))};
}

}  // namespace onehour::data
