// One JPEG image: as much of it as a view needs, resized, by libjpeg-turbo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "resample.h"

namespace onehour::data {

// That of libjpeg-turbo's headers; the library itself does not say which one was loaded.
std::string builtJpegVersion();

// Decodes images one after the other; one a thread. Working memory is kept.
class JpegDecoder {
 public:
  JpegDecoder();
  ~JpegDecoder();
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  // Makes the view of an image of that width and height, in pixels.
  using ViewOf = std::function<View(int width, int height)>;

  // Writes the view as u8[size, size, 3] to `target`. The image is decoded at 1/2, 1/4 or 1/8 of
  // its size where the view still has two pixels for each of the output, and only in the rows and
  // columns that count. An image that is cut short is grey from there on: the result then says what
  // is wrong with it, and is empty otherwise. Throws std::runtime_error when nothing can be decoded
  // or the image exceeds limits.h, and Foreign where its colors are CMYK.
  std::string decode(std::span<const uint8_t> file, int size, const ViewOf& viewOf,
                     uint8_t* target);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace onehour::data
