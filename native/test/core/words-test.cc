// Tests of the words that messages are made of.
#include "../../core/words.h"

#include <cstdlib>

#include "../check.h"

namespace onehour::test {
namespace {

void countsHaveTheirNouns() {
  CHECK(counted(0, "byte") == "0 bytes");
  CHECK(counted(1, "byte") == "1 byte");
  CHECK(counted(2, "byte") == "2 bytes");
  CHECK(counted(1, "address") == "1 address");
  CHECK(counted(3, "address") == "3 addresses");
}

void theBuildCommandIsTheInstallations() {
  unsetenv("ONEHOUR_BUILD_COMMAND");
  CHECK(buildCommand() == "npx onehour build");
  setenv("ONEHOUR_BUILD_COMMAND", "scripts/setup", 1);
  CHECK(buildCommand() == "scripts/setup");
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run(
      {{"counts have their nouns", countsHaveTheirNouns},
       {"the command that builds is the installation's", theBuildCommandIsTheInstallations}});
}
