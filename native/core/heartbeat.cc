// The heartbeat thread is detached and touches nothing with a destructor, so it may outlive main.
#include "heartbeat.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <thread>

#include "error.h"
#include "progress.h"

namespace onehour {
namespace {

// False when the other end is gone.
bool writeAll(int descriptor, const char* bytes, size_t length) {
  while (length > 0) {
    const ssize_t written = write(descriptor, bytes, length);
    if (written >= 0) {
      bytes += written;
      length -= static_cast<size_t>(written);
    } else if (errno == EAGAIN) {
      pollfd waiting{descriptor, POLLOUT, 0};
      poll(&waiting, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

void beat(int descriptor, std::chrono::milliseconds interval) {
  sigset_t signals;
  sigfillset(&signals);  // SIGPIPE above all: the error of write() says the same
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto next = std::chrono::steady_clock::now();
  for (;;) {
    char line[128];
    const progress::Counters& counters = progress::counters();
    const int length = std::snprintf(line, sizeof line,
                                     "{\"progress\":%" PRIu64 ",\"waiting\":%" PRId32
                                     ",\"running\":%" PRId32 ",\"reading\":%" PRId32 "}\n",
                                     counters.completed.load(), counters.waiting.load(),
                                     counters.running.load(), counters.reading.load());
    if (!writeAll(descriptor, line, static_cast<size_t>(length))) return;
    next += interval;
    std::this_thread::sleep_until(next);
  }
}

}  // namespace

void startHeartbeat(int descriptor, int intervalMilliseconds) {
  static std::atomic<bool> started{false};
  if (descriptor < 0 || intervalMilliseconds < 1) {
    throw Error("ERR_USAGE", "onehour",
                "a heartbeat needs an open file descriptor and an interval of at least 1 ms");
  }
  if (started.exchange(true)) {
    throw Error("ERR_USAGE", "onehour", "this process already has a heartbeat");
  }
  std::thread thread(beat, descriptor, std::chrono::milliseconds(intervalMilliseconds));
  pthread_setname_np(thread.native_handle(), "oh-heartbeat");
  thread.detach();
}

void dieWithParent(int expectedParent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    throw Error("ERR_PARENT", "onehour",
                std::string("prctl(PR_SET_PDEATHSIG) failed: ") + std::strerror(errno));
  }
  const pid_t parent = getppid();
  if (expectedParent > 0 ? parent != expectedParent : parent == 1) {
    throw Error("ERR_PARENT", "onehour", "the launcher of this worker has already ended");
  }
}

}  // namespace onehour
