#include "decoders.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "../core/progress.h"
#include "bmp.h"
#include "gif.h"
#include "jpeg.h"
#include "limits.h"
#include "netpbm.h"
#include "raster.h"
#include "resample.h"

namespace onehour::data {
namespace {

constexpr int64_t kColors = 3;

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A regular file: a named pipe may never be opened, and some devices never end.
class File {
 public:
  explicit File(const std::string& path) : size_(sizeOf(path)) {
    descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category());
  }
  ~File() { close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int64_t size() const { return size_; }

  // Fills `bytes` from `offset` on; fewer where the file ends.
  void read(int64_t offset, std::vector<uint8_t>& bytes) const {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got = pread(descriptor_, bytes.data() + done, bytes.size() - done,
                                offset + static_cast<int64_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw std::system_error(errno, std::generic_category());
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    bytes.resize(done);
  }

 private:
  static int64_t sizeOf(const std::string& path) {
    struct stat found {};
    if (stat(path.c_str(), &found) != 0) throw std::system_error(errno, std::generic_category());
    if (!S_ISREG(found.st_mode)) throw std::runtime_error("it is not a regular file");
    return found.st_size;
  }

  int64_t size_;
  int descriptor_ = -1;
};

void readSource(const Source& source, std::vector<uint8_t>& bytes) {
  const File file(source.path);
  const int64_t size = source.bytes < 0 ? file.size() - source.offset : source.bytes;
  // One byte more than allowed, to see that the file is too large.
  bytes.resize(static_cast<size_t>(std::clamp<int64_t>(size, 0, kMostBytes + 1)));
  file.read(source.offset, bytes);
}

bool isJpeg(std::span<const uint8_t> file) {
  return file.size() >= 2 && file[0] == 0xff && file[1] == 0xd8;
}

// Formats that are decoded whole, recognised by how their files begin.
constexpr struct {
  bool (*matches)(std::span<const uint8_t> file);
  Raster (*decode)(std::span<const uint8_t> file);
} kWholeFormats[] = {{isGif, decodeGif}, {isNetpbm, decodeNetpbm}, {isBmp, decodeBmp}};

void resamplePixels(const Pixels& pixels, const View& view, int size, uint8_t* target) {
  Resampler resampler;
  resampler.begin(view, size, target);
  resampler.expect(0, pixels.width);
  const size_t bytes = static_cast<size_t>(pixels.width) * kColors;
  for (int row = resampler.firstRow(); row < resampler.lastRow(); ++row) {
    std::memcpy(resampler.row(), pixels.data + static_cast<size_t>(row) * bytes, bytes);
    resampler.advance();
  }
}

// What one thread keeps between images.
struct Scratch {
  std::vector<uint8_t> file;
  JpegDecoder decoder;
};

Scratch& scratch() {
  static thread_local Scratch own;
  return own;
}

// A batch on its way through the threads.
struct Batch {
  std::vector<Source> sources;
  Treatment treatment;
  uint8_t* target;
  Decoders::Done done;
  std::shared_ptr<std::atomic<bool>> aborted;
  std::atomic<size_t> next{0};
  std::atomic<size_t> left{0};  // threads that may still work on it
  std::mutex mutex;             // of the outcome
  Outcome outcome;

  void report(size_t image, Trouble trouble, const std::string& message) {
    const std::lock_guard lock(mutex);
    outcome.problems.push_back({image, trouble, message});
  }

  // Returns what is made up of the image; empty where nothing is. Throws where nothing is
  // decoded.
  std::string decode(Scratch& own, size_t image, uint8_t* place) {
    const auto viewOf = [&](int width, int height) { return treatment.view(image, width, height); };
    if (isJpeg(own.file)) return own.decoder.decode(own.file, treatment.size, viewOf, place);
    for (const auto& format : kWholeFormats) {
      if (!format.matches(own.file)) continue;
      const Raster raster = format.decode(own.file);
      resamplePixels({raster.pixels.data(), raster.width, raster.height},
                     viewOf(raster.width, raster.height), treatment.size, place);
      return "";
    }
    throw Foreign("its format is not known here");
  }

  void decodeOne(size_t image, double& readSeconds, double& decodeSeconds) {
    Scratch& own = scratch();
    const auto start = Clock::now();
    try {
      readSource(sources[image], own.file);
    } catch (const std::exception& error) {
      report(image, Trouble::unreadable, error.what());
      return;
    }
    readSeconds += secondsSince(start);
    const auto decoding = Clock::now();
    const int64_t pixels = int64_t{treatment.size} * treatment.size;
    uint8_t* place = target + static_cast<int64_t>(image) * pixels * kColors;
    try {
      if (std::ssize(own.file) > kMostBytes) {
        throw std::runtime_error("its file has more than " + std::to_string(kMostBytes >> 20) +
                                 " MiB");
      }
      const std::string damage = decode(own, image, place);
      if (!damage.empty()) report(image, Trouble::damaged, damage);
      if (!treatment.jitters.empty()) applyJitter(treatment.jitters[image], place, pixels);
    } catch (const Foreign& error) {
      report(image, Trouble::foreign, error.what());
    } catch (const std::exception& error) {
      report(image, Trouble::undecoded, error.what());
    }
    decodeSeconds += secondsSince(decoding);
    progress::advance();  // a batch may take longer than a run waits for a sign of life
  }

  // Decodes until none are left; the last thread reports the result.
  void work() {
    double readSeconds = 0;
    double decodeSeconds = 0;
    for (size_t image = next++; image < sources.size(); image = next++) {
      if (aborted->load()) break;
      decodeOne(image, readSeconds, decodeSeconds);
    }
    {
      const std::lock_guard lock(mutex);
      outcome.readSeconds += readSeconds;
      outcome.decodeSeconds += decodeSeconds;
    }
    if (--left > 0) return;
    std::ranges::sort(outcome.problems, {}, &Problem::image);
    done(std::move(outcome));
  }
};

}  // namespace

View Treatment::view(size_t image, int width, int height) const {
  return crops.empty() ? evaluationView(width, height, size, shortSide)
                       : trainingView(width, height, size, crops[image]);
}

Decoders::Decoders(int threads) {
  for (int i = 0; i < threads; ++i) workers_.push_back(std::make_shared<Worker>("decode"));
}

void Decoders::decode(std::vector<Source> sources, Treatment treatment, uint8_t* target,
                      Done done) {
  auto batch = std::make_shared<Batch>();
  batch->sources = std::move(sources);
  batch->treatment = std::move(treatment);
  batch->target = target;
  batch->done = std::move(done);
  batch->aborted = aborted_;
  batch->left = workers_.size();
  for (const auto& worker : workers_) worker->post([batch] { batch->work(); });
}

void Decoders::resample(const Pixels& pixels, Treatment treatment, uint8_t* target, Done done) {
  const auto& worker = workers_[nextResampler_++ % workers_.size()];
  worker->post([pixels, treatment = std::move(treatment), target, done = std::move(done)] {
    resamplePixels(pixels, treatment.view(0, pixels.width, pixels.height), treatment.size, target);
    if (!treatment.jitters.empty()) {
      applyJitter(treatment.jitters[0], target, int64_t{treatment.size} * treatment.size);
    }
    done({});
  });
}

}  // namespace onehour::data
