#include "file-lock.h"

#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "error.h"

namespace onehour {

FileLock tryLockFile(int descriptor) {
  int result;
  do {
    result = flock(descriptor, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return FileLock::taken;
  switch (errno) {
    case EWOULDBLOCK:
      return FileLock::held;
    case ENOLCK:
    case ENOSYS:
    case EOPNOTSUPP:
    case EINVAL:
      return FileLock::unsupported;
    default:
      throw Error("ERR_FILE", "onehour", std::string("cannot lock a file: ") + strerror(errno));
  }
}

}  // namespace onehour
