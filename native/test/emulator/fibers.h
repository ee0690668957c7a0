// The threads of a block, run one at a time on the calling thread and switched where they wait for
// one another.
#pragma once

#include <cstdint>
#include <functional>

namespace onehour::emulator {

constexpr int warpSize = 32;

// Runs `body(thread)` for `count` threads in a shuffled order that `seed` decides, so that a
// missing barrier shows. Throws what a thread throws, and when threads wait that nothing will wake.
void runBlock(int count, uint32_t seed, const std::function<void(int thread)>& body);

// To be called by threads of a block.
void waitForBlock();
// Gives `bits` to the lanes of the own warp that are in `mask`, which must all come here, and
// returns what lane `from` gave.
uint64_t exchange(uint32_t mask, uint64_t bits, int from);

}  // namespace onehour::emulator
