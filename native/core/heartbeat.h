// Signs of life for the launcher, and the end of this process when the launcher ends.
#pragma once

namespace onehour {

// Starts a thread that writes {"progress":P,"waiting":W,"running":R,"reading":D} and a newline to
// the descriptor at once and then every interval, from the counters in progress.h; it ends silently
// when nothing reads them any more. Once per process: a second call throws ERR_USAGE.
void startHeartbeat(int descriptor, int intervalMilliseconds);

// The kernel kills this process when the thread that started it ends. Throws ERR_PARENT if that
// already happened: the parent is not `expectedParent`, or is init where that is 0.
void dieWithParent(int expectedParent);

}  // namespace onehour
