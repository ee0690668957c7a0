#include "liveness.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

namespace onehour {
namespace {

using std::chrono::milliseconds;

constexpr int kProbes = 127;  // the most that the kernel takes: the silence ends it first
constexpr unsigned kUnansweredProbes = 3;  // one or two are lost in a bad network too

void set(int socket, int level, int option, int value) noexcept {
  setsockopt(socket, level, option, &value, sizeof(value));
}

int wholeSeconds(milliseconds time) {
  return std::max(1,
                  static_cast<int>(std::chrono::duration_cast<std::chrono::seconds>(time).count()));
}

}  // namespace

void probePeer(int socket, milliseconds silence) noexcept {
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, wholeSeconds(silence / 4));
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, wholeSeconds(silence / 8));
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
}

void endWhenSilent(int socket, milliseconds silence) noexcept {
  probePeer(socket, silence);
  set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(silence.count()));
}

bool isSilent(int socket, milliseconds silence) noexcept {
  tcp_info info{};
  socklen_t length = sizeof(info);
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return false;
  return (info.tcpi_retransmits > 0 || info.tcpi_probes >= kUnansweredProbes) &&
         milliseconds(info.tcpi_last_ack_recv) > silence;
}

}  // namespace onehour
