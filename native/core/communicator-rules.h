// Checks and messages that the communicators of all backends share.
#pragma once

#include <algorithm>
#include <string>

#include "error.h"
#include "program.h"

namespace onehour {

inline void expectRank(const std::string& library, int rank, int size) {
  if (size >= 1 && rank >= 0 && rank < size) return;
  throw Error("ERR_COLLECTIVE", library,
              "rank " + std::to_string(rank) + " of " + std::to_string(size) +
                  " does not exist; expected 0 ≤ rank < size");
}

inline void expectRoot(const std::string& library, int root, int size) {
  if (root >= 0 && root < size) return;
  throw Error("ERR_COLLECTIVE", library,
              "broadcast from rank " + std::to_string(root) + ", but the group has ranks 0 to " +
                  std::to_string(size - 1));
}

[[noreturn]] inline void refuseAllReduce(const std::string& library, DataType type) {
  throw Error("ERR_COLLECTIVE", library,
              "all-reduce adds f32 and i32, got " + std::string(nameOf(type)));
}

// A second to 100 hours.
inline double boundedTimeout(double seconds) { return std::clamp(seconds, 1.0, 3600.0 * 100); }

inline std::string ofRank(int rank, int size, const std::string& message) {
  return "rank " + std::to_string(rank) + " of " + std::to_string(size) + ": " + message;
}

inline constexpr const char* kPeerHint =
    ". The usual cause is a rank that ended or waits elsewhere: look for the first error of the "
    "other ranks";

}  // namespace onehour
