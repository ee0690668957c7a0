// The few lines of a test framework that the native tests need: named tests, checks that print
// where they failed, exit status 1 if any did.
#pragma once

#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "../core/error.h"

namespace onehour::test {

struct Case {
  const char* name;
  std::function<void()> body;
};

inline int failures = 0;

#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      ++onehour::test::failures;                                                   \
    }                                                                              \
  } while (false)

// The Error that `body` throws; counts a failure when it throws none.
template <typename Body>
Error thrown(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  std::fprintf(stderr, "expected an Error, none was thrown\n");
  ++failures;
  return Error("", "", "");
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline int run(const std::vector<Case>& cases) {
  std::signal(SIGPIPE, SIG_IGN);  // as Node does: a peer that left is an error of the write
  for (const Case& test : cases) {
    const int before = failures;
    try {
      test.body();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "unexpected exception: %s\n", error.what());
      ++failures;
    }
    std::printf("%s %s\n", failures == before ? "ok" : "FAILED", test.name);
    std::fflush(stdout);
  }
  std::printf("%zu native tests, %d failures\n", cases.size(), failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace onehour::test
