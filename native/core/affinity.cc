#include "affinity.h"

#include <sched.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "error.h"

namespace onehour {
namespace {

// More than any machine has: the kernel takes sets of any size.
constexpr int kMostProcessors = 8192;

struct Set {
  std::vector<cpu_set_t> words =
      std::vector<cpu_set_t>((kMostProcessors + CPU_SETSIZE - 1) / CPU_SETSIZE);
  size_t bytes() const { return words.size() * sizeof(cpu_set_t); }
};

}  // namespace

bool bindProcess(const std::vector<int>& processors) {
  Set set;
  for (const int processor : processors) {
    if (processor < 0 || processor >= kMostProcessors) {
      throw Error("ERR_USAGE", "onehour",
                  "processor " + std::to_string(processor) + ", expected 0 to " +
                      std::to_string(kMostProcessors - 1));
    }
    CPU_SET_S(processor, set.bytes(), set.words.data());
  }
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const pid_t thread = std::stoi(task.path().filename());
    const bool done = sched_setaffinity(thread, set.bytes(), set.words.data()) == 0;
    if (!done && errno != ESRCH) return false;  // or the thread has ended meanwhile
  }
  return true;
}

}  // namespace onehour
