// Launches of kernels on the host: each thread of each block, as work of the stream.
#include <algorithm>
#include <mutex>
#include <numeric>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "../fakes/cuda-runtime.h"

namespace onehour::emulator {
namespace {

// The kernels that were loaded, by address.
struct LoadedKernels {
  std::mutex mutex;
  std::set<const void*> kernels;
};
LoadedKernels& loaded() {
  static auto* instance = new LoadedKernels;
  return *instance;
}

// What a GPU refuses.
void check(const cudaLaunchConfig_t& config) {
  const auto& [grid, block, stream] = config;
  const unsigned blocks = grid.x * grid.y * grid.z;
  const unsigned threads = block.x * block.y * block.z;
  if (threads == 0 || threads > 1024 || blocks == 0 || grid.y > 65535 || grid.z > 65535) {
    throw std::invalid_argument("a launch of " + std::to_string(blocks) + " blocks of " +
                                std::to_string(threads) + " threads");
  }
}

void runGrid(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  static thread_local uint32_t launches = 0;
  const uint32_t seed = ++launches;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  // In an order that nothing may rely on.
  std::vector<unsigned> order(blocks);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), std::minstd_rand(seed));
  for (const unsigned block : order) {
    runBlock(static_cast<int>(threads), seed + block, [&](int index) {
      const auto at = static_cast<unsigned>(index);
      threadIdx = {at % blockDim.x, at / blockDim.x % blockDim.y, at / blockDim.x / blockDim.y};
      blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
      thread();
    });
  }
}

}  // namespace

cudaError_t launch(const void* kernel, const cudaLaunchConfig_t& config,
                   std::function<void()> thread) {
  {
    const std::lock_guard lock(loaded().mutex);
    // A GPU would load it here, in the middle of a step or a recording.
    if (!loaded().kernels.contains(kernel)) {
      throw std::logic_error("a launch of a kernel not loaded");
    }
  }
  check(config);
  return fake::post(config.stream,
                    [config, thread = std::move(thread)] { runGrid(config, thread); });
}

}  // namespace onehour::emulator

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void* kernel) {
  auto& [mutex, kernels] = onehour::emulator::loaded();
  const std::lock_guard lock(mutex);
  kernels.insert(kernel);
  return cudaSuccess;
}
