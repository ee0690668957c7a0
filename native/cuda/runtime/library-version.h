// Whether a library that was loaded can do what its headers promised when the module was built.
#pragma once

#include <cstddef>
#include <string>

#include "../../core/error.h"
#include "../../core/words.h"

namespace onehour::cuda {

// e.g. "9.24.0": cuDNN and cuBLAS count major·10000 + minor·100 + patch.
inline std::string versionName(size_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

// Throws ERR_DEVICE unless `loaded` has the major version of `built` and is not older.
inline void checkVersion(const std::string& library, size_t built, size_t loaded) {
  if (loaded / 10000 == built / 10000 && loaded >= built) return;
  throw Error("ERR_DEVICE", library,
              "the " + library + " that was loaded is " + versionName(loaded) +
                  ", this module was built with the headers of " + versionName(built) +
                  "; expected the same major version, not older: see which one LD_LIBRARY_PATH "
                  "finds, update " +
                  library + ", or build with this one (" + buildCommand() + ")");
}

}  // namespace onehour::cuda
