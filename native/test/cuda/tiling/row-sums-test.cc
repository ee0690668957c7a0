// Tests of sums over rows on the emulated GPU, whose blocks run in a shuffled order: the block that
// comes last finishes them, whichever it is, with the same bits at every launch.
#include <cstring>
#include <vector>

#include "../../../cuda/runtime/backend.h"
#include "../../../cuda/tiling/rows.cuh"
#include "../../check.h"

namespace onehour::test {
namespace {

using namespace cuda;

constexpr int lanes = 4;

struct Finish {
  float* sums;  // [2, C]
  int* calls;   // [C]
  int64_t channels;
  __device__ void operator()(int64_t channel, double first, double second) const {
    sums[channel] = static_cast<float>(first);
    sums[channels + channel] = static_cast<float>(second);
    ++calls[channel];
  }
};

// Σx and Σx².
__global__ void sumKernel(RowTiling tiling, const float* x, RowSums into, Finish finish) {
  const RowTile tile = tiling.tile(blockIdx.x, static_cast<int>(threadIdx.x), false);
  float sums[2][lanes] = {};
  const float* const from[] = {x};
  overRows<2, false, lanes>(tile, from, [&](const Pack<float, lanes>(&packs)[1], uint32_t) {
    for (int j = 0; j < lanes; ++j) {
      sums[0][j] += packs[0].values[j];
      sums[1][j] += packs[0].values[j] * packs[0].values[j];
    }
  });
  sumRows(tiling, sums, into, AsTheyAre(), finish);
}

void repeats(int64_t rows, int64_t channels, int multiprocessors, int levels) {
  const auto backend = createCudaBackend({});
  PrepareContext context{*backend, {}};
  const RowTiling tiling = rowTiling(rows, channels, lanes, multiprocessors);
  CHECK(tiling.mergeLevels() == levels);
  const auto floats = [&](int64_t count) {
    return backend->allocate(static_cast<size_t>(count) * sizeof(float), MemoryKind::device);
  };
  const auto x = floats(rows * channels);
  std::vector<double> expected(static_cast<size_t>(2 * channels));
  for (int64_t i = 0; i < rows * channels; ++i) {
    const float value = static_cast<float>(i * 2654435761u % 1000003) / 1000003;
    static_cast<float*>(x.get())[i] = value;
    expected[static_cast<size_t>(i % channels)] += value;
    expected[static_cast<size_t>(channels + i % channels)] += double{value} * value;
  }
  const auto stream = backend->createStream("compute");
  const auto workspace = backend->allocate(partialBytes(tiling), MemoryKind::device);
  stream->bindWorkspace(workspace.get());
  const auto counters = countersOf(tiling, context);
  const LoadedKernel kernel(sumKernel);
  std::vector<float> before;
  for (int launches = 1; launches <= 4; ++launches) {
    const auto sums = floats(2 * channels);
    const auto calls = floats(channels);
    const Finish finish{static_cast<float*>(sums.get()), static_cast<int*>(calls.get()), channels};
    launchRows(kernel, tiling, *stream, static_cast<const float*>(x.get()),
               sumsOf(*stream, counters), finish);
    backend->synchronize(*stream);
    for (int64_t i = 0; i < channels; ++i) CHECK(finish.calls[i] == 1);
    const std::vector<float> now(finish.sums, finish.sums + 2 * channels);
    for (size_t i = 0; i < now.size(); ++i) {
      CHECK(std::abs(now[i] - expected[i]) < 1e-5 * expected[i]);
    }
    CHECK(before.empty() || before == now);
    before = now;
  }
  for (int64_t i = 0; i < tiling.blocks(); ++i) {
    CHECK(static_cast<unsigned int*>(counters.get())[i] == 0);
  }
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({
      {"one block has its channels to itself", [] { repeats(30, 132, 1, 0); }},
      {"one group of blocks", [] { repeats(3000, 132, 8, 1); }},
      {"groups of groups of blocks", [] { repeats(40000, 12, 132, 2); }},
      {"more groups than one has members", [] { repeats(90000, 64, 2000, 3); }},
  });
}
