// How kernels walk a tensor [M, C] whose rows of C values lie one after the other: a thread keeps
// a few neighbouring channels and goes over rows, so that what belongs to a channel stays in its
// registers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tiling.h"

namespace onehour::cuda {

// Two blocks of 320 threads live on a multiprocessor: 96 registers a thread for vectors of
// channels, and with eight accesses of 16 bytes on their way in each thread 80 KiB, where 3.35 TB/s
// at a latency of 1 µs ask for 25.
constexpr int rowThreads = 320;
constexpr int rowBlocksPerMultiprocessor = 2;

// Longest run of rows that a thread sums in fp32.
constexpr int tileRows = 128;

// Widest piece of a row for a block: 16 accesses, 256 bytes, are whole cache lines of a row, and
// leave 20 rows in a block, so that its partial sums are few compared with what it read.
constexpr int tilePacks = 16;
constexpr int tileChannels = 128;

// What one thread walks: from element `base`, where its block begins, the places first,
// first + stride, … (count of them), `lanes` elements at each.
struct RowTile {
  int row;     // of the block's, 0 … rowsPerPass − 1
  int column;  // pack among the block's
  int count;
  int64_t base;
  // Elements. 32 bits, since a thread holds the places of all accesses that are on their way.
  uint32_t first;
  uint32_t stride;  // modulo 2³²: negative backwards
};

// Most elements of the rows of one block, unless a single row has more.
constexpr int64_t tileElements = int64_t{1} << 29;

struct RowTiling {
  int64_t rows, channels;  // M, C
  int lanes;               // channels of a thread
  int columns;             // packs of a row that a block holds
  int rowsPerPass;         // rows that a block reads at once
  int columnBlocks;
  int rowBlocks;
  int64_t blockRows;  // rows of a block, one more in the first `longer`
  int longer;

  ONEHOUR_BOTH int64_t blocks() const { return int64_t{columnBlocks} * rowBlocks; }
  // Neighbouring blocks in the order of launch read the same rows.
  ONEHOUR_BOTH int rowBlock(int64_t block) const { return static_cast<int>(block / columnBlocks); }
  ONEHOUR_BOTH int64_t firstRow(int rowBlock) const {
    return rowBlock * blockRows + (rowBlock < longer ? rowBlock : longer);
  }
  ONEHOUR_BOTH int rowsOf(int rowBlock) const {
    return static_cast<int>(blockRows + (rowBlock < longer ? 1 : 0));
  }
  // Channels of a block, of which the last block may hold fewer.
  ONEHOUR_BOTH int width() const { return columns * lanes; }
  ONEHOUR_BOTH int64_t firstChannel(int64_t block) const { return block % columnBlocks * width(); }
  // Rows of a block that its threads in row `row` walk.
  ONEHOUR_BOTH int countOf(int rowBlock, int row) const {
    const int rows = rowsOf(rowBlock);
    return row < rows ? (rows - row - 1) / rowsPerPass + 1 : 0;
  }

  // The sums of row blocks are merged in a tree of this shape, whichever of them come last. A group
  // of a level is up to 32 of the level before; its sum takes its first member's place.
  struct Group {
    int64_t first, stride;  // members: the row blocks first, first + stride, …
    int count;
  };
  static constexpr int fanInBits = 5;
  static constexpr int fanIn = 1 << fanInBits;
  ONEHOUR_BOTH int mergeLevels() const {
    int levels = 0;
    while ((rowBlocks - 1) >> (levels * fanInBits) > 0) ++levels;
    return levels;
  }
  ONEHOUR_BOTH Group group(int rowBlock, int level) const {
    const int bits = level * fanInBits;
    const int64_t first = int64_t{rowBlock} >> (bits + fanInBits) << (bits + fanInBits);
    const int64_t members = ((rowBlocks - first - 1) >> bits) + 1;
    return {first, int64_t{1} << bits, static_cast<int>(members < fanIn ? members : fanIn)};
  }
  // Which of blocks() counters a group of several members has: its second member's.
  ONEHOUR_BOTH int64_t counterOf(int64_t block, const Group& group) const {
    return (group.first + group.stride) * columnBlocks + block % columnBlocks;
  }

  // `backwards`: the same elements from the last to the first.
  ONEHOUR_BOTH RowTile tile(int64_t block, int thread, bool backwards) const {
    const int part = rowBlock(block);
    RowTile result{};
    result.row = thread / columns;
    result.column = thread % columns;
    result.base = firstRow(part) * channels + firstChannel(block);
    result.stride = static_cast<uint32_t>(rowsPerPass * channels);
    const int channel = result.column * lanes;
    if (result.row < rowsPerPass && firstChannel(block) + channel < channels) {
      result.count = countOf(part, result.row);
      result.first = static_cast<uint32_t>(result.row * channels + channel);
    }
    if (backwards && result.count > 0) {
      result.first += (static_cast<uint32_t>(result.count) - 1) * result.stride;
      result.stride = 0 - result.stride;
    }
    return result;
  }
};

// The tiling of [rows, channels] for a device of so many multiprocessors; `lanes` divides channels.
// Whole waves of blocks of equal work, while a collective runs too; no thread with more than
// tileRows rows, and none started for fewer than four.
inline RowTiling rowTiling(int64_t rows, int64_t channels, int lanes, int multiprocessors) {
  const int64_t packs = channels / lanes;
  const int64_t pieces = ceilDivide(packs, lanes == 1 ? tileChannels : tilePacks);
  const int64_t columns = ceilDivide(packs, pieces);
  RowTiling tiling{};
  tiling.rows = rows;
  tiling.channels = channels;
  tiling.lanes = lanes;
  tiling.columns = static_cast<int>(columns);
  tiling.columnBlocks = static_cast<int>(ceilDivide(packs, columns));
  tiling.rowsPerPass = rowThreads / tiling.columns;
  const int64_t longest = std::min<int64_t>(int64_t{tiling.rowsPerPass} * tileRows,
                                            std::max<int64_t>(1, tileElements / channels));
  const int64_t least = ceilDivide(rows, longest);
  const int64_t most = std::max(least, ceilDivide(rows, int64_t{tiling.rowsPerPass} * 4));
  const int64_t resident = int64_t{besideCollectives(multiprocessors)} * rowBlocksPerMultiprocessor;
  const int64_t wave = std::max<int64_t>(1, resident / tiling.columnBlocks);
  const int64_t rowBlocks = least <= wave ? std::min(wave, most) : ceilDivide(least, wave) * wave;
  tiling.rowBlocks = static_cast<int>(rowBlocks);
  tiling.blockRows = rows / rowBlocks;
  tiling.longer = static_cast<int>(rows % rowBlocks);
  return tiling;
}

// How a block sums what its threads hold, row by row of threads, for each of its channels: first
// `segments` threads a channel, each over the rows of threads segment, segment + segments, …
ONEHOUR_BOTH constexpr int segmentsOf(int width) {
  return rowThreads / width < 32 ? rowThreads / width : 32;
}

}  // namespace onehour::cuda
