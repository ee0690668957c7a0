#include "socket-address.h"

#include <netdb.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace onehour::cpu {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::vector<SocketAddress> resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int status = getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (status != 0) throw std::runtime_error(gai_strerror(status));
  std::vector<SocketAddress> result;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    std::memcpy(&result.emplace_back().bytes, entry->ai_addr, entry->ai_addrlen);
    result.back().length = entry->ai_addrlen;
  }
  freeaddrinfo(list);
  return result;
}

}  // namespace

std::string SocketAddress::words() const {
  if (isLocal()) return "a Unix socket";
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(get(), length, host, sizeof(host), port, sizeof(port),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "an unknown address";
  }
  std::string result(host);
  if (bytes.ss_family == AF_INET6) result.insert(0, 1, '[').append("]");
  return result.append(":").append(port);
}

OwnAddresses ownAddresses() {
  std::string name = environment("ONEHOUR_OWN_ADDRESS");
  if (name.empty()) name = "127.0.0.1";
  try {
    return {name, resolve(name)};
  } catch (const std::runtime_error& error) {
    throw cannotListen(name, error.what());
  }
}

void reachFrom(SocketAddress& peer, const SocketAddress& own) {
  if (peer.bytes.ss_family != AF_INET6 || own.bytes.ss_family != AF_INET6) return;
  auto* address = reinterpret_cast<sockaddr_in6*>(&peer.bytes);
  if (IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr))
    address->sin6_scope_id = reinterpret_cast<const sockaddr_in6*>(&own.bytes)->sin6_scope_id;
}

std::runtime_error cannotListen(const std::string& name, const std::string& reason) {
  return std::runtime_error("cannot listen at " + name + " (" + reason +
                            "); set ONEHOUR_HOST to an address of this machine, or "
                            "ONEHOUR_INTERFACE to an interface");
}

}  // namespace onehour::cpu
