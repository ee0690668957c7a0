#include "socket-address.h"

#include <ifaddrs.h>
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

std::vector<SocketAddress> addressesOf(const std::string& interface) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) throw std::runtime_error(std::strerror(errno));
  std::vector<SocketAddress> result;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      if (interface != entry->ifa_name || entry->ifa_addr == nullptr ||
          entry->ifa_addr->sa_family != family) {
        continue;
      }
      const auto* six = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr);
      // An address that means something on this machine only.
      if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr)) continue;
      const size_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      std::memcpy(&result.emplace_back().bytes, entry->ifa_addr, length);
      result.back().length = static_cast<socklen_t>(length);
    }
  }
  freeifaddrs(list);
  if (result.empty()) throw std::runtime_error("there is no such interface with an address");
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
  const std::string interface = environment("ONEHOUR_INTERFACE");
  std::string name = interface.empty() ? environment("ONEHOUR_HOST") : interface;
  if (name.empty()) name = environment("ONEHOUR_OWN_ADDRESS");
  if (name.empty()) name = "127.0.0.1";
  try {
    return {name, interface.empty() ? resolve(name) : addressesOf(interface)};
  } catch (const std::runtime_error& error) {
    throw cannotListen(name, error.what());
  }
}

std::runtime_error cannotListen(const std::string& name, const std::string& reason) {
  return std::runtime_error("cannot listen at " + name + " (" + reason +
                            "); set ONEHOUR_HOST to an address of this machine, or "
                            "ONEHOUR_INTERFACE to an interface");
}

}  // namespace onehour::cpu
