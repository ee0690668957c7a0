// A lock on an open file, which the system gives back when the process that took it ends.
#pragma once

namespace onehour {

enum class FileLock { taken, held, unsupported };

// Tries to lock the open file for this descriptor alone, against other processes and against other
// descriptors of this one; where the file system is one of several machines', against theirs too,
// as far as it supports that. Held until the last copy of the descriptor is closed. Throws
// ERR_FILE.
FileLock tryLockFile(int descriptor);

}  // namespace onehour
