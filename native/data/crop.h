// Which part of an image is wanted: the crops of training and of evaluation, as places where the
// pixels of a square output lie in the image.
#pragma once

#include <cstdint>

namespace onehour::data {

// One direction, in the image's pixels: output i is centred at offset + (i + 1/2) · scale, and
// only pixels low … high − 1 may count.
struct Span {
  double offset;
  double scale;
  int low;
  int high;
};

struct View {
  Span across;
  Span down;
};

// What was drawn for one image; the image's size is known only when its header was read.
struct CropDraws {
  static constexpr int kAttempts = 10;
  double area[kAttempts];    // fraction of the image's area
  double aspect[kAttempts];  // width / height
  double right;              // place of the crop among those possible, in [0, 1)
  double down;
};

// The first attempt that fits into width × height pixels, or the largest centred crop with an
// aspect between 3/4 and 4/3, as size × size pixels (Szegedy et al. 2014, section 6; the paper,
// section 5.1). No pixel beyond the crop counts.
View trainingView(int width, int height, int size, const CropDraws& draws);

// The centre size × size pixels after the shorter side was resized to `shortSide`. Pixels beyond
// the centre count where the filter reaches them.
View evaluationView(int width, int height, int size, int shortSide);

}  // namespace onehour::data
