// Tests of how CUDA kernels share out their work, on the host: each element once, at odd sizes and
// beyond 2³¹.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "../../../cuda/tiling/column-tiling.h"
#include "../../../cuda/tiling/pool-tiling.h"
#include "../../../cuda/tiling/sgd-tiling.h"
#include "../../check.h"

namespace onehour::test {
namespace {

using namespace cuda;

void blocksAreWholeWarps() {
  CHECK(threadsFor(1) == 32);
  CHECK(threadsFor(256) == 256);
  CHECK(threadsFor(257) == 160);  // two rounds of 129
  CHECK(threadsFor(448) == 224);
  CHECK(threadsFor(int64_t{1} << 40) == 256);
  for (int64_t items = 1; items < 3000; ++items) {
    const int threads = threadsFor(items);
    CHECK(threads % 32 == 0 && threads <= 256);
    CHECK(ceilDivide(items, threads) == ceilDivide(items, 256));
  }
}

// As the kernel walks: the number of times that each element is written.
std::vector<int> visits(const ColumnTiling& tiling) {
  std::vector<int> count(static_cast<size_t>(tiling.groups * tiling.rows * tiling.columns));
  for (int64_t block = 0; block < tiling.blocks(); ++block) {
    for (int thread = 0; thread < tiling.width; ++thread) {
      const int64_t column = tiling.columnOf(block, thread);
      if (column >= tiling.columns) continue;
      for (int slice = 0; slice < tiling.slices; ++slice) {
        for (int64_t row = slice; row < tiling.rows; row += tiling.slices) {
          for (int lane = 0; lane < tiling.lanes; ++lane) {
            const int64_t at = tiling.elementOf(tiling.groupOf(block), row, column + lane);
            ++count[static_cast<size_t>(at)];
          }
        }
      }
    }
  }
  return count;
}

bool allOnce(const std::vector<int>& count) {
  for (int visits : count) {
    if (visits != 1) return false;
  }
  return true;
}

void columnsAreSharedOut() {
  for (int64_t groups : {1, 3}) {
    for (int64_t rows : {1, 2, 7, 8, 9, 49, 63, 257}) {
      for (int64_t columns : {1, 3, 8, 10, 17, 64, 1000, 2056}) {
        for (int lanes : {1, 4, 8}) {
          if (columns % lanes != 0) continue;
          const ColumnTiling tiling = columnTiling(groups, rows, columns, lanes);
          CHECK(tiling.width * tiling.slices <= ColumnTiling::threads);
          CHECK(tiling.slices <= rows);
          CHECK(allOnce(visits(tiling)));
        }
      }
    }
  }
}

void columnsBeyondThirtyTwoBits() {
  const ColumnTiling tiling = columnTiling(int64_t{1} << 20, 49, 2048, 8);
  CHECK(tiling.slices == 8 && tiling.width == 32);
  const int64_t last = tiling.blocks() - 1;
  CHECK(tiling.groupOf(last) == tiling.groups - 1);
  CHECK(tiling.columnOf(last, tiling.width - 1) == 2040);
  CHECK(tiling.elementOf(tiling.groups - 1, 48, 2047) == (int64_t{49} << 31) - 1);
}

// Windows over a pixel and pixels under a window are each other's inverse.
void windowsMeetTheirPixels() {
  for (int window : {1, 2, 3, 5}) {
    for (int stride : {1, 2, 3, 4}) {
      for (int padding = 0; padding < window; ++padding) {
        for (int extent = 1; extent < 12; ++extent) {
          if (extent + 2 * padding < window) continue;
          const int outputs = (extent + 2 * padding - window) / stride + 1;
          const WindowAxis axis{extent, outputs, window, stride, padding};
          std::set<std::pair<int, int>> over;
          for (int pixel = 0; pixel < extent; ++pixel) {
            CHECK(axis.endOver(pixel) - axis.firstOver(pixel) <= axis.mostOver());
            for (int p = axis.firstOver(pixel); p < axis.endOver(pixel); ++p) {
              over.emplace(p, pixel);
            }
          }
          std::set<std::pair<int, int>> under;
          for (int p = 0; p < outputs; ++p) {
            for (int place = 0; place < window; ++place) {
              const int pixel = p * stride - padding + place;
              const bool inside = pixel >= 0 && pixel < extent;
              CHECK(inside == (place >= axis.firstInside(p) && place < axis.endInside(p)));
              if (inside) under.emplace(p, pixel);
            }
          }
          CHECK(over == under);
        }
      }
    }
  }
}

void imagesBeyondThirtyTwoBits() {
  const WindowAxis axis{224, 112, 3, 2, 1};
  const PoolTiling tiling{4096, 64, 8, axis, axis};
  CHECK(tiling.input(4095, 223, 223, 56) == int64_t{4096} * 224 * 224 * 64 - 8);
  CHECK(tiling.output(4095, 111, 111, 56) == int64_t{4096} * 112 * 112 * 64 - 8);
}

void parametersAreSharedOut() {
  for (int lanes : {1, 4}) {
    for (int64_t count : {1, 3, 4, 5, 511, 512, 513, 2047, 2048, 2049, 100003}) {
      for (int most : {1, 2, 7, 528}) {
        SgdTiling tiling{count, lanes, 1};
        tiling.blocks = static_cast<int>(std::min<int64_t>(tiling.tiles(), most));
        std::vector<int> visits(static_cast<size_t>(count));
        for (int block = 0; block < tiling.blocks; ++block) {
          CHECK(tiling.firstTile(block) < tiling.firstTile(block + 1));
          for (int64_t tile = tiling.firstTile(block); tile < tiling.firstTile(block + 1); ++tile) {
            for (int pack = 0; pack < SgdTiling::packs; ++pack) {
              for (int thread = 0; thread < SgdTiling::threads; ++thread) {
                const int64_t at = tiling.element(tile, pack, thread);
                for (int lane = 0; lane < lanes && at + lane < count; ++lane) {
                  ++visits[static_cast<size_t>(at + lane)];
                }
              }
            }
          }
        }
        CHECK(tiling.firstTile(tiling.blocks) == tiling.tiles());
        CHECK(allOnce(visits));
      }
    }
  }
}

void parametersBeyondThirtyTwoBits() {
  const SgdTiling tiling{(int64_t{5} << 31) + 3, 4, 528};
  CHECK(tiling.firstTile(528) == tiling.tiles());
  const int64_t most = ceilDivide(tiling.tiles(), 528);
  for (int block = 0; block < 528; ++block) {
    const int64_t own = tiling.firstTile(block + 1) - tiling.firstTile(block);
    CHECK(own == most || own == most - 1);
  }
  CHECK(tiling.element(tiling.tiles() - 1, 0, 0) == int64_t{5} << 31);
}

void elementsFindTheirSegment() {
  constexpr int64_t beyond = std::numeric_limits<int64_t>::max();
  for (int segments = 1; segments < 20; ++segments) {
    std::vector<SegmentEnd> table;
    std::vector<int> owner;
    for (int i = 0; i < segments; ++i) {
      owner.insert(owner.end(), static_cast<size_t>(1 + i * 7 % 5), i);
      table.push_back({static_cast<int64_t>(owner.size()), 0, false});
    }
    table.back().end = beyond;
    for (size_t element = 0; element < owner.size(); ++element) {
      CHECK(segmentAt(table.data(), segments, static_cast<int64_t>(element)) == owner[element]);
    }
    CHECK(segmentAt(table.data(), segments, beyond - 1) == segments - 1);
  }
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({
      {"blocks are whole warps with even rounds", blocksAreWholeWarps},
      {"columns are shared out once", columnsAreSharedOut},
      {"columns beyond 32 bits", columnsBeyondThirtyTwoBits},
      {"windows meet their pixels", windowsMeetTheirPixels},
      {"images beyond 32 bits", imagesBeyondThirtyTwoBits},
      {"parameters are shared out once", parametersAreSharedOut},
      {"parameters beyond 32 bits", parametersBeyondThirtyTwoBits},
      {"elements find their segment", elementsFindTheirSegment},
  });
}
