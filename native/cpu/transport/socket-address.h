// Addresses of sockets, and those at which this machine can listen.
#pragma once

#include <sys/socket.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace onehour::cpu {

// Of a Unix socket or of TCP.
struct SocketAddress {
  sockaddr_storage bytes{};
  socklen_t length = 0;  // 0: none

  bool isLocal() const { return bytes.ss_family == AF_UNIX; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
  std::string words() const;  // "10.0.0.2:4000", the port as people write it
};

// The addresses at which other machines reach this one.
struct OwnAddresses {
  std::string name;  // as the user or the rendezvous gave it
  std::vector<SocketAddress> all;
};

// Those of the name or address in ONEHOUR_OWN_ADDRESS, which connect() in lib/ranks chooses, else
// loopback. Throws the error of `cannotListen` where a name has no address.
OwnAddresses ownAddresses();

// A link-local address holds on one link only: a peer's is reached by the interface of this
// machine's own address, whatever its number is there.
void reachFrom(SocketAddress& peer, const SocketAddress& own);

std::runtime_error cannotListen(const std::string& name, const std::string& reason);

}  // namespace onehour::cpu
