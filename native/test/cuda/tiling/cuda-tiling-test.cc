// Tests of how the CUDA kernels of batch norm and of the elementwise ops share out elements: each
// is reached exactly once, inside the tensor, at sizes that divide nothing and sizes beyond 2³¹.
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "../../../cuda/tiling/element-tiling.h"
#include "../../../cuda/tiling/row-tiling.h"
#include "../../check.h"

namespace onehour::test {
namespace {

using cuda::ElementTiling;
using cuda::RowTile;
using cuda::RowTiling;
using cuda::rowTiling;

const std::vector<int> kMultiprocessors{1, 7, 132};

struct Size {
  int64_t rows, channels;
  int lanes;
};

// Element of place i of a tile, as kernels reckon it: 32-bit bytes from the block's base.
int64_t elementOf(const RowTile& tile, int i, uint32_t size) {
  const uint32_t bytes = (tile.first + static_cast<uint32_t>(i) * tile.stride) * size;
  return tile.base + bytes / size;
}

// Visits how often each element of the tensor is reached.
std::vector<int> visits(const RowTiling& tiling, bool backwards) {
  std::vector<int> result(static_cast<size_t>(tiling.rows * tiling.channels));
  for (int64_t block = 0; block < tiling.blocks(); ++block) {
    for (int thread = 0; thread < cuda::rowThreads; ++thread) {
      const RowTile tile = tiling.tile(block, thread, backwards);
      for (int i = 0; i < tile.count; ++i) {
        const int64_t element = elementOf(tile, i, 4);
        for (int lane = 0; lane < tiling.lanes; ++lane) {
          ++result.at(static_cast<size_t>(element + lane));
        }
      }
    }
  }
  return result;
}

bool allOnce(const std::vector<int>& counts) {
  for (int count : counts) {
    if (count != 1) return false;
  }
  return true;
}

void rowsAreReachedOnce() {
  const std::vector<Size> sizes{{1, 1, 1},     {1, 8, 8},     {3, 5, 1},      {100, 3, 1},
                                {49, 64, 8},   {49, 64, 4},   {1000, 24, 8},  {777, 136, 8},
                                {50, 2048, 8}, {50, 2048, 4}, {61, 129, 1},   {5, 1000, 1},
                                {20001, 1, 1}, {9999, 16, 8}, {12345, 20, 4}, {2, 40000, 8}};
  for (const Size& size : sizes) {
    for (int multiprocessors : kMultiprocessors) {
      const RowTiling tiling = rowTiling(size.rows, size.channels, size.lanes, multiprocessors);
      CHECK(allOnce(visits(tiling, false)));
      CHECK(allOnce(visits(tiling, true)));
    }
  }
}

// A thread walks the same places backwards, from the last to the first, and `countOf` knows how
// many there are.
void tilesRunBackwards() {
  const RowTiling tiling = rowTiling(5000, 48, 8, 7);
  for (int64_t block = 0; block < tiling.blocks(); ++block) {
    for (int thread = 0; thread < cuda::rowThreads; ++thread) {
      const RowTile there = tiling.tile(block, thread, false);
      const RowTile back = tiling.tile(block, thread, true);
      CHECK(there.count == back.count);
      for (int i = 0; i < there.count; ++i) {
        CHECK(elementOf(there, i, 2) == elementOf(back, there.count - 1 - i, 2));
      }
      if (there.count > 0) CHECK(there.count == tiling.countOf(tiling.rowBlock(block), there.row));
    }
  }
}

// Large tensors are not walked whole: the blocks' ranges follow each other without a gap, and the
// first and last thread of the first and last blocks stay inside.
void largeTensorsAreCovered() {
  const std::vector<Size> sizes{{256 * 112 * 112, 64, 8},  {256 * 112 * 112, 64, 4},
                                {int64_t{1} << 33, 64, 8}, {(int64_t{1} << 31) + 12345, 3, 1},
                                {4096 * 7 * 7, 2048, 8},   {3, (int64_t{1} << 32) + 8, 8},
                                {70, int64_t{1} << 30, 4}};
  for (const Size& size : sizes) {
    const RowTiling tiling = rowTiling(size.rows, size.channels, size.lanes, 132);
    int64_t row = 0;
    bool withinTile = true;
    for (int part = 0; part < tiling.rowBlocks; ++part) {
      CHECK(tiling.firstRow(part) == row);
      row += tiling.rowsOf(part);
      withinTile = withinTile && tiling.countOf(part, 0) <= cuda::tileRows;
    }
    CHECK(row == size.rows);
    CHECK(withinTile);
    CHECK(tiling.blocks() < int64_t{1} << 31);  // what a grid may have
    CHECK((tiling.columnBlocks - 1) * int64_t{tiling.width()} < size.channels);
    CHECK(tiling.columnBlocks * int64_t{tiling.width()} >= size.channels);
    const int64_t count = size.rows * size.channels;
    int64_t last = 0;
    for (int64_t block : {int64_t{0}, tiling.blocks() / 2, tiling.blocks() - 1}) {
      const int64_t part = tiling.rowBlock(block);
      const int64_t end =
          (tiling.firstRow(static_cast<int>(part)) + tiling.rowsOf(static_cast<int>(part))) *
          size.channels;
      for (int thread = 0; thread < cuda::rowThreads; ++thread) {
        const RowTile tile = tiling.tile(block, thread, false);
        if (tile.count == 0) continue;
        const int64_t from = elementOf(tile, 0, 4);
        const int64_t to = elementOf(tile, tile.count - 1, 4) + size.lanes;
        CHECK(from >= tile.base && to <= end && to <= count);
        CHECK(to - from ==
              (tile.count - 1) * int64_t{tiling.rowsPerPass} * size.channels + size.lanes);
        last = std::max(last, to);
      }
    }
    CHECK(last == count);
  }
}

// Waves that a kernel of ResNet-50 at batch 256 in bf16 takes where collectives keep 0, 16 and 24
// of an H100's 132 or an A100's 108 multiprocessors for themselves: never more than with all of
// them, and the last one is as full as the others while they run.
void wavesAreWholeBesideCollectives() {
  struct Row {
    int64_t side, channels;
    int64_t waves[2][3];  // by GPU and multiprocessors taken
  };
  const std::vector<Row> rows{{112, 64, {{3, 3, 3}, {4, 4, 4}}},  {56, 64, {{1, 1, 1}, {1, 1, 1}}},
                              {56, 256, {{3, 3, 3}, {4, 4, 4}}},  {28, 128, {{1, 1, 1}, {1, 1, 1}}},
                              {28, 512, {{2, 2, 2}, {2, 2, 2}}},  {14, 256, {{1, 1, 1}, {1, 1, 1}}},
                              {14, 1024, {{1, 1, 1}, {1, 1, 1}}}, {7, 512, {{1, 1, 1}, {1, 1, 1}}},
                              {7, 2048, {{1, 1, 1}, {1, 1, 1}}}};
  const int multiprocessors[] = {132, 108};
  const int taken[] = {0, 16, 24};
  for (const Row& row : rows) {
    for (int gpu = 0; gpu < 2; ++gpu) {
      const RowTiling tiling =
          rowTiling(256 * row.side * row.side, row.channels, 8, multiprocessors[gpu]);
      for (int i = 0; i < 3; ++i) {
        const int64_t resident =
            int64_t{multiprocessors[gpu] - taken[i]} * cuda::rowBlocksPerMultiprocessor;
        CHECK(cuda::ceilDivide(tiling.blocks(), resident) == row.waves[gpu][i]);
        if (i == 2) CHECK(tiling.blocks() * 20 > row.waves[gpu][i] * resident * 19);
      }
    }
  }
}

// Small GPUs keep most of their multiprocessors.
void collectivesLeaveMost() {
  CHECK(cuda::besideCollectives(132) == 108);
  CHECK(cuda::besideCollectives(108) == 84);
  CHECK(cuda::besideCollectives(40) == 30);
  CHECK(cuda::besideCollectives(1) == 1);
}

// Whatever the order in which blocks end, one of them merges last, every row block was added once
// before, and the counters are zero again.
void mergesEveryRowBlockOnce() {
  for (const int multiprocessors : kMultiprocessors) {
    for (const int64_t rows : {1, 39, 999, 40000, 1000000}) {
      const RowTiling tiling = rowTiling(rows, 2 * cuda::tileChannels, 8, multiprocessors);
      std::vector<int64_t> sums(static_cast<size_t>(tiling.blocks()), 1);
      std::vector<int> arrived(sums.size());
      std::vector<int64_t> order(sums.size());
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), std::minstd_rand(1));
      int finished = 0;
      for (const int64_t block : order) {
        const auto place = [&](int64_t rowBlock) {
          return static_cast<size_t>(rowBlock * tiling.columnBlocks + block % tiling.columnBlocks);
        };
        bool last = true;
        for (int level = 0; last && level < tiling.mergeLevels(); ++level) {
          const RowTiling::Group group = tiling.group(tiling.rowBlock(block), level);
          if (group.count == 1) continue;
          int& counter = arrived.at(static_cast<size_t>(tiling.counterOf(block, group)));
          last = ++counter == group.count;
          if (!last) continue;
          counter = 0;
          for (int i = 1; i < group.count; ++i) {
            sums[place(group.first)] += sums.at(place(group.first + i * group.stride));
          }
        }
        if (!last) continue;
        ++finished;
        CHECK(sums[place(0)] == tiling.rowBlocks);
      }
      CHECK(finished == tiling.columnBlocks);
      CHECK(std::count(arrived.begin(), arrived.end(), 0) == tiling.blocks());
    }
  }
}

// The sums of a block take every row of its threads for every channel, within the block's threads.
void sumsTakeEveryRow() {
  for (int lanes : {1, 4, 8}) {
    for (int64_t packs = 1; packs <= 300; ++packs) {
      const RowTiling tiling = rowTiling(1000, packs * lanes, lanes, 132);
      const int width = tiling.width();
      CHECK(width <= cuda::tileChannels);
      CHECK(2 * width <= cuda::rowThreads);
      CHECK(tiling.rowsPerPass * tiling.columns <= cuda::rowThreads);
      CHECK(cuda::segmentsOf(width) >= 1);
      CHECK(width * cuda::segmentsOf(width) <= cuda::rowThreads);
    }
  }
}

void elementsAreReachedOnce() {
  for (int lanes : {1, 4, 8, 16}) {
    for (int64_t count : {1, 3, 4, 7, 16, 255, 1024, 4097, 65537, 100003}) {
      const ElementTiling tiling{count, lanes};
      std::vector<int> result(static_cast<size_t>(count));
      for (int64_t block = 0; block < tiling.blocks(); ++block) {
        for (int thread = 0; thread < cuda::elementThreads; ++thread) {
          for (int k = 0; k < cuda::elementBatch; ++k) {
            const int64_t pack = tiling.pack(block, k, thread);
            if (pack >= tiling.packs()) continue;
            for (int j = 0; j < lanes; ++j) ++result.at(static_cast<size_t>(pack * lanes + j));
          }
          const int64_t tail = tiling.tail(block, thread);
          if (tail >= 0) ++result.at(static_cast<size_t>(tail));
        }
      }
      CHECK(allOnce(result));
    }
  }
}

void manyElementsHaveTheirPacks() {
  const ElementTiling tiling{(int64_t{5} << 31) + 5, 8};
  const int64_t last = tiling.blocks() - 1;
  CHECK(tiling.blocks() < int64_t{1} << 31);
  CHECK(tiling.pack(last, 0, 0) < tiling.packs());
  CHECK(tiling.pack(last, cuda::elementBatch - 1, cuda::elementThreads - 1) >= tiling.packs() - 1);
  CHECK(tiling.tail(last, 4) == tiling.count - 1);
  CHECK(tiling.tail(last, 5) == -1);
  CHECK(tiling.tail(0, 0) == -1);
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({
      {"rows of every size are reached once", rowsAreReachedOnce},
      {"tiles run backwards", tilesRunBackwards},
      {"tensors beyond 2^31 elements are covered", largeTensorsAreCovered},
      {"waves of blocks are whole beside collectives", wavesAreWholeBesideCollectives},
      {"collectives leave most multiprocessors", collectivesLeaveMost},
      {"sums of row blocks are merged once", mergesEveryRowBlockOnce},
      {"a block's sums take every row", sumsTakeEveryRow},
      {"elements of every size are reached once", elementsAreReachedOnce},
      {"more than 2^31 elements have their packs", manyElementsHaveTheirPacks},
  });
}
