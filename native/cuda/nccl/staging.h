// How a message of any size travels through two slots of a fixed size, so that the host fills and
// empties one while the device works on the other.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

namespace onehour::cuda {

// Units `first` to `first + count` of a message (bytes, or bytes of each rank), in one of the
// slots.
struct Chunk {
  size_t first;
  size_t count;
  int slot;
};

constexpr int stagingSlots = 2;

// Calls `fill` for every chunk in order, and `drain` for every chunk in order, each before its slot
// is filled again. `fill` may start work that `drain` waits for.
template <typename Fill, typename Drain>
void inChunks(size_t units, size_t unitsInSlot, Fill fill, Drain drain) {
  std::array<std::optional<Chunk>, stagingSlots> pending;
  const auto finish = [&](int slot) {
    if (pending[slot]) drain(*pending[slot]);
    pending[slot].reset();
  };
  int slot = 0;
  for (size_t first = 0; first < units; first += unitsInSlot) {
    finish(slot);
    const Chunk chunk{first, std::min(unitsInSlot, units - first), slot};
    fill(chunk);
    pending[slot] = chunk;
    slot = (slot + 1) % stagingSlots;
  }
  for (int rest = 0; rest < stagingSlots; ++rest) finish((slot + rest) % stagingSlots);
}

}  // namespace onehour::cuda
