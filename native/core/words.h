// Words: parts of a text, counts with their nouns, and the command that builds the modules.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace onehour {

// The parts between separators, one more than there are of these.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// "1 byte", "2 bytes", "2 addresses".
inline std::string counted(uint64_t count, const std::string& noun) {
  const char* ending = count == 1 ? "" : noun.back() == 's' ? "es" : "s";
  return std::to_string(count) + " " + noun + ending;
}

// What builds this installation's modules, as lib/device/native.ts passes it on.
inline std::string buildCommand() {
  const char* command = std::getenv("ONEHOUR_BUILD_COMMAND");
  return command == nullptr ? "npx onehour build" : command;
}

}  // namespace onehour
