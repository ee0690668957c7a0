// Resizes a view of an image to a square in one pass over its rows, with a triangle filter that is
// widened where the image shrinks, so that nothing aliases ("bilinear" in Pillow).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "crop.h"

namespace onehour::data {

// Weights of the pixels that make each output of one direction; they add up to 1.
struct Filter {
  struct Taps {
    int first;   // pixel
    int count;   // of pixels
    int weight;  // index of the first weight
  };

  void make(const Span& span, int size);

  std::vector<Taps> taps;  // [size]
  std::vector<float> weights;
  int first = 0;  // pixel that counts anywhere
  int last = 0;   // one past it
  int most = 0;   // pixels that one output needs
};

// Takes the rows of an image one after the other and writes output rows as soon as they can be.
// Working memory is kept for the next image.
class Resampler {
 public:
  // `target`: u8[size, size, 3], the output.
  void begin(const View& view, int size, uint8_t* target);

  // The rows and columns of the image that are needed; ends are one past the last.
  int firstRow() const { return down_.first; }
  int lastRow() const { return down_.last; }
  int firstColumn() const { return across_.first; }
  int lastColumn() const { return across_.last; }

  // Rows will be u8[columns, 3] from column `left` on; firstColumn() to lastColumn() are among
  // them.
  void expect(int left, int columns);
  // Where the next row is to be put, firstRow() first.
  uint8_t* row();
  // Takes the row that was put there.
  void advance();

 private:
  void emit();

  int size_ = 0;
  uint8_t* target_ = nullptr;
  Filter across_;
  Filter down_;
  int left_ = 0;
  int next_ = 0;      // row of the image
  int produced_ = 0;  // rows of the output
  size_t pitch_ = 0;  // bytes of a row in the ring
  std::vector<uint8_t> ring_;
  std::vector<float> sums_;  // [columns that count, 3]: a row filtered from above to below
};

}  // namespace onehour::data
