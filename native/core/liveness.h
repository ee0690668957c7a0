// Whether the machine at the other end of a TCP connection still answers. Its kernel does as long
// as it runs and the network leads there, whatever its processes do: a busy or stopped peer is no
// lost one.
#pragma once

#include <chrono>

namespace onehour {

// Has an idle connection ask the peer's kernel for an answer several times in `silence`. The
// connection stays; ask `isSilent`. Does nothing to what is no TCP connection.
void probePeer(int socket, std::chrono::milliseconds silence) noexcept;

// As `probePeer`, and the kernel ends the connection (ETIMEDOUT, or the network's own error) when
// no answer came for `silence`; also when the peer has read nothing for as long of what waits for
// it.
void endWhenSilent(int socket, std::chrono::milliseconds silence) noexcept;

// Whether several probes, or data, have gone unanswered, and no answer came for `silence`. A peer
// that only does not read is asked at growing distances, so this may take some minutes longer to
// tell.
bool isSilent(int socket, std::chrono::milliseconds silence) noexcept;

}  // namespace onehour
