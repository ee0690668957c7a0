// Tests of the lock on an open file: who holds it, when it is given back, and what file systems
// say.
#include "../../core/file-lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <deque>
#include <string>

#include "../check.h"

namespace {

// Errors with which the next calls of flock end instead.
std::deque<int> refusals;

}  // namespace

extern "C" int flock(int descriptor, int operation) noexcept {
  if (refusals.empty()) return static_cast<int>(syscall(SYS_flock, descriptor, operation));
  errno = refusals.front();
  refusals.pop_front();
  return -1;
}

namespace onehour::test {
namespace {

// An empty file without a name, opened anew through its descriptor.
class TemporaryFile {
 public:
  TemporaryFile() {
    std::string path = "/tmp/onehour-file-lock-XXXXXX";
    descriptor_ = mkostemp(path.data(), O_CLOEXEC);
    CHECK(descriptor_ >= 0);
    unlink(path.c_str());
  }
  ~TemporaryFile() { close(descriptor_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int open() const {
    const std::string path = "/proc/self/fd/" + std::to_string(descriptor_);
    return ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  }

 private:
  int descriptor_;
};

void isHeldByOneDescriptor() {
  const TemporaryFile file;
  const int first = file.open();
  const int second = file.open();
  CHECK(tryLockFile(first) == FileLock::taken);
  CHECK(tryLockFile(first) == FileLock::taken);  // it has it already
  CHECK(tryLockFile(second) == FileLock::held);
  const int copy = dup(first);
  close(first);
  CHECK(tryLockFile(second) == FileLock::held);
  close(copy);
  CHECK(tryLockFile(second) == FileLock::taken);
  close(second);
}

void tellsFileSystemsWithoutLocks() {
  const TemporaryFile file;
  const int own = file.open();
  for (const int error : {ENOLCK, ENOSYS, EOPNOTSUPP, EINVAL}) {
    refusals = {error};
    CHECK(tryLockFile(own) == FileLock::unsupported);
  }
  refusals = {EINTR, EINTR};
  CHECK(tryLockFile(own) == FileLock::taken);
  CHECK(refusals.empty());
  refusals = {EIO};
  const Error error = thrown([&] { tryLockFile(own); });
  CHECK(error.code == "ERR_FILE");
  CHECK(contains(error.what(), "cannot lock a file: Input/output error"));
  close(own);
  CHECK(thrown([&] { tryLockFile(own); }).code == "ERR_FILE");
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"one descriptor and its copies", isHeldByOneDescriptor},
              {"file systems without locks", tellsFileSystemsWithoutLocks}});
}
