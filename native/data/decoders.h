// Threads that read and decode batches of images: batches in order, the images of a batch in any
// order.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../core/worker.h"
#include "crop.h"
#include "jitter.h"

namespace onehour::data {

// Bytes of a file: all of it, or a member of an archive.
struct Source {
  std::string path;
  int64_t offset = 0;
  int64_t bytes = -1;  // to the end
};

// An image that another decoder decoded: u8[height, width, 3].
struct Pixels {
  const uint8_t* data;
  int width;
  int height;
};

// What to make of each image.
struct Treatment {
  int size;                      // pixels, of both sides of the output
  int shortSide;                 // pixels before the centre is cut out, without draws
  std::vector<CropDraws> crops;  // one an image, or none for evaluation
  std::vector<Jitter> jitters;   // one an image, or none

  View view(size_t image, int width, int height) const;
};

enum class Trouble {
  damaged,     // some of the image was made up
  undecoded,   // nothing can be decoded; the image's place is unchanged or spoilt
  foreign,     // another decoder may take it; its place is unchanged
  unreadable,  // the file cannot be read
};

struct Problem {
  size_t image;
  Trouble trouble;
  std::string message;
};

struct Outcome {
  std::vector<Problem> problems;  // by image
  double readSeconds = 0;         // of all threads together
  double decodeSeconds = 0;
};

class Decoders {
 public:
  using Done = std::function<void(Outcome)>;

  explicit Decoders(int threads);

  // Writes u8[sources.size(), size, size, 3] to `target`, which lives until `done` is called, on
  // one of the threads.
  void decode(std::vector<Source> sources, Treatment treatment, uint8_t* target, Done done);
  // The same for one image that was decoded already; the treatment is of that one.
  void resample(const Pixels& pixels, Treatment treatment, uint8_t* target, Done done);

  // Drops what is queued, so that it ends soon.
  void abort() { aborted_->store(true); }
  const std::vector<std::shared_ptr<Worker>>& workers() const { return workers_; }

 private:
  std::vector<std::shared_ptr<Worker>> workers_;
  std::shared_ptr<std::atomic<bool>> aborted_ = std::make_shared<std::atomic<bool>>(false);
  size_t nextResampler_ = 0;
};

}  // namespace onehour::data
