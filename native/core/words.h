// Words of messages: counts with their nouns, and the command that builds the modules.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

namespace onehour {

// "1 byte", "2 bytes", "2 addresses".
inline std::string counted(uint64_t count, const std::string& noun) {
  const char* ending = count == 1 ? "" : noun.back() == 's' ? "es" : "s";
  return std::to_string(count) + " " + noun + ending;
}

// As this installation has it, which lib/device/native.ts tells.
inline std::string buildCommand() {
  const char* command = std::getenv("ONEHOUR_BUILD_COMMAND");
  return command == nullptr ? "npx onehour build" : command;
}

}  // namespace onehour
