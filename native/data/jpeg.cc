#include "jpeg.h"

// jpeglib.h needs FILE and size_t to be there.
#include <cstdio>
// What fails in it comes back by longjmp.
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <csetjmp>
#include <stdexcept>
#include <vector>

#include "../core/library-versions.h"
#include "limits.h"

namespace onehour::data {
namespace {

// Warnings after which the rest of the image is made up.
constexpr int kFatalWarnings[] = {JWRN_JPEG_EOF, JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE,
                                  JWRN_MUST_RESYNC, JWRN_BOGUS_PROGRESSION};

// Pixels of the shrunk image for each of the output: with fewer, it shows that libjpeg shrinks
// differently from the filter.
constexpr double kLeastScale = 2;

// The largest sampling factor of an image that is decoded at a smaller size. With larger ones
// libjpeg loses colors there that a whole image has, and libjpeg-turbo 2.1 takes them from
// elsewhere in the image where it also crops.
constexpr int kMostFactor = 2;

// The largest of 8, 4, 2 and 1 by which both directions can shrink before they are resized.
int shrinkOf(const View& view, const jpeg_decompress_struct& info) {
  if (std::max(info.max_h_samp_factor, info.max_v_samp_factor) > kMostFactor) return 1;
  const double scale = std::min(view.across.scale, view.down.scale);
  int shrink = 8;
  while (shrink > 1 && scale < kLeastScale * shrink) shrink /= 2;
  return shrink;
}

Span shrunk(const Span& span, int by, int side) {
  return {.offset = span.offset / by,
          .scale = span.scale / by,
          .low = span.low / by,
          .high = std::min(side, (span.high + by - 1) / by)};
}

}  // namespace

struct JpegDecoder::State {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  std::jmp_buf failed{};
  char message[JMSG_LENGTH_MAX]{};
  char warning[JMSG_LENGTH_MAX]{};
  jpeg_progress_mgr progress{};
  int64_t blocks = 0;  // decoded of the image so far
  Resampler resampler;

  State() {
    info.err = jpeg_std_error(&errors);
    info.client_data = this;
    errors.error_exit = [](j_common_ptr common) {
      auto* self = static_cast<State*>(common->client_data);
      common->err->format_message(common, self->message);
      std::longjmp(self->failed, 1);
    };
    errors.emit_message = [](j_common_ptr common, int level) {
      auto* self = static_cast<State*>(common->client_data);
      const bool fatal =
          std::ranges::find(kFatalWarnings, common->err->msg_code) != std::end(kFatalWarnings);
      if (level < 0 && fatal && self->warning[0] == 0) {
        common->err->format_message(common, self->warning);
      }
    };
    errors.output_message = [](j_common_ptr) {};
    // Called before each row of units of each scan, where there are several.
    progress.progress_monitor = [](j_common_ptr common) {
      static_cast<State*>(common->client_data)->count();
    };
    if (!attempt([this] { jpeg_create_decompress(&info); })) throw std::runtime_error(message);
    info.progress = &progress;
  }

  ~State() { jpeg_destroy_decompress(&info); }

  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // False, with `message`, when a call of libjpeg failed in the body, which must hold nothing that
  // has a destructor.
  template <typename Body>
  bool attempt(Body body) {
    if (setjmp(failed) != 0) return false;
    body();
    return true;
  }

  [[noreturn]] void fail() {
    jpeg_abort_decompress(&info);
    throw std::runtime_error(message);
  }

  int64_t cost() const { return info.arith_code != FALSE ? kArithmeticCost : 1; }

  // Of all components.
  int64_t blocksOfImage() const {
    int64_t sum = 0;
    for (int c = 0; c < info.num_components; ++c) {
      sum += int64_t{info.comp_info[c].width_in_blocks} * info.comp_info[c].height_in_blocks;
    }
    return sum;
  }

  // Checks that need the header alone. Throws.
  void requireAffordable() const {
    requireSize(info.image_width, info.image_height);
    const int64_t held = blocksOfImage() * DCTSIZE2 * int64_t{sizeof(JCOEF)};
    if (jpeg_has_multiple_scans(const_cast<j_decompress_ptr>(&info)) != FALSE &&
        held > kMostBytes) {
      throw std::runtime_error("its scans need " + std::to_string(held >> 20) +
                               " MiB of coefficients; expected at most " +
                               std::to_string(kMostBytes >> 20));
    }
    if (blocksOfImage() * cost() > kMostBlocks) {
      throw std::runtime_error("its arithmetic coding is of " + std::to_string(blocksOfImage()) +
                               " blocks; expected at most " +
                               std::to_string(kMostBlocks / kArithmeticCost));
    }
  }

  // Fails like a call of libjpeg where the scans go on for too long.
  void count() {
    if (jpeg_has_multiple_scans(&info) == FALSE) return;
    const int rows = info.comps_in_scan == 1 ? info.cur_comp_info[0]->v_samp_factor : 1;
    blocks += int64_t{info.MCUs_per_row} * info.blocks_in_MCU * rows * cost();
    if (info.input_scan_number <= kMostScans && blocks <= kMostBlocks) return;
    std::snprintf(message, sizeof message,
                  "it has more than %d scans, or scans of more than %" PRId64 " blocks in all",
                  kMostScans, kMostBlocks / cost());
    std::longjmp(failed, 1);
  }

  // Reads all scans of an image that another decoder is to take, so that none is left to find too
  // many of them there.
  void readScans() {
    info.buffered_image = TRUE;
    jpeg_start_decompress(&info);
    int status;
    do {
      count();
      status = jpeg_consume_input(&info);
    } while (status != JPEG_REACHED_EOI && status != JPEG_SUSPENDED);
  }

  void readRows() {
    for (int row = resampler.firstRow(); row < resampler.lastRow(); ++row) {
      JSAMPROW target = resampler.row();
      jpeg_read_scanlines(&info, &target, 1);
      resampler.advance();
    }
  }
};

JpegDecoder::JpegDecoder() : state_(std::make_unique<State>()) {}
JpegDecoder::~JpegDecoder() = default;

std::string JpegDecoder::decode(std::span<const uint8_t> file, int size, const ViewOf& viewOf,
                                uint8_t* target) {
  State& state = *state_;
  jpeg_decompress_struct& info = state.info;
  state.warning[0] = 0;
  state.blocks = 0;
  jpeg_abort_decompress(&info);  // what an earlier image left
  if (!state.attempt([&] {
        jpeg_mem_src(&info, file.data(), file.size());
        jpeg_read_header(&info, TRUE);
      })) {
    state.fail();
  }
  const auto width = static_cast<int>(info.image_width);
  const auto height = static_cast<int>(info.image_height);
  try {
    state.requireAffordable();
  } catch (...) {
    jpeg_abort_decompress(&info);
    throw;
  }
  if (info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK) {
    if (jpeg_has_multiple_scans(&info) != FALSE && !state.attempt([&] { state.readScans(); })) {
      state.fail();
    }
    jpeg_abort_decompress(&info);
    throw Foreign("its colors are CMYK");
  }
  View view = viewOf(width, height);
  const int shrink = shrinkOf(view, info);
  info.scale_num = 1;
  info.scale_denom = static_cast<unsigned>(shrink);
  info.out_color_space = JCS_RGB;
  if (!state.attempt([&] { jpeg_start_decompress(&info); })) state.fail();
  view = {shrunk(view.across, shrink, static_cast<int>(info.output_width)),
          shrunk(view.down, shrink, static_cast<int>(info.output_height))};
  state.resampler.begin(view, size, target);

  // One column more to each side, since libjpeg interpolates the colors between columns.
  const int first = std::max(0, state.resampler.firstColumn() - 1);
  const int last = std::min(static_cast<int>(info.output_width), state.resampler.lastColumn() + 1);
  auto left = static_cast<JDIMENSION>(first);
  auto columns = static_cast<JDIMENSION>(last - first);
  if (!state.attempt([&] { jpeg_crop_scanline(&info, &left, &columns); })) state.fail();
  state.resampler.expect(static_cast<int>(left), static_cast<int>(columns));
  if (!state.attempt([&] {
        jpeg_skip_scanlines(&info, static_cast<JDIMENSION>(state.resampler.firstRow()));
        state.readRows();
      })) {
    state.fail();
  }
  jpeg_abort_decompress(&info);
  return state.warning;
}

std::string builtJpegVersion() {
  constexpr int version = LIBJPEG_TURBO_VERSION_NUMBER;  // 2001005 is 2.1.5
  return versionText(version / 1'000'000, version / 1000 % 1000, version % 1000);
}

}  // namespace onehour::data
