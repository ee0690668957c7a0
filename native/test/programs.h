// Programs for tests: a body in a frame of four small arenas. Its first line is line 7.
#pragma once

#include <string>

namespace onehour::test {

inline std::string program(const std::string& body) {
  return "onehour-program 1\nname p\narena temp 1024\narena param 64\n"
         "arena input 64 slots=2\narena output 64 slots=2\n" +
         body + "\n";
}

}  // namespace onehour::test
