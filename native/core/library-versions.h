// Versions of the libraries that a module is linked with.
#pragma once

#include <string>
#include <vector>

namespace onehour {

// Of one library: that of the headers which the module was built with, and that which was loaded.
// Either is empty where the library does not say.
struct LibraryVersion {
  std::string name;
  std::string built;
  std::string loaded;
};
using LibraryVersions = std::vector<LibraryVersion>;

// e.g. "2.6.3"
inline std::string versionText(int major, int minor, int patch) {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

}  // namespace onehour
