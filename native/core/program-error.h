// Errors that quote a line of the program text.
#pragma once

#include <string>
#include <string_view>

namespace onehour {

// Printable, and cut where it is long.
std::string quote(std::string_view text);

// Throws ERR_PROGRAM.
[[noreturn]] void programError(int line, std::string_view text, const std::string& message);

}  // namespace onehour
