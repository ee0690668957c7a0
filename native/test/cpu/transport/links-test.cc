// Tests of the connections between ranks: who gets in, who does not, and the messages about it.
#include "../../../cpu/transport/links.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../../check.h"
#include "../../concurrency.h"

namespace onehour::test {
namespace {

using namespace onehour::cpu;
using std::chrono::seconds;

constexpr seconds kNever{300};  // longer than any test takes

const std::string kAdvice =
    ". All hosts must share the network of these addresses, and no firewall may stand between "
    "them; "
    "ONEHOUR_INTERFACE chooses another interface of a host";

enum class Way { local, network };

// The ranks of a group, on one machine or each on a machine of its own.
struct Ranks {
  Ranks(int size, Way way) {
    for (int rank = 0; rank < size; ++rank) {
      all.push_back(std::make_unique<Links>(rank, size, kNever));
      introductions.push_back(all.back()->introduction());
      if (way == Way::network) introductions.back().machine = Digest{static_cast<uint8_t>(rank)};
    }
    for (const auto& rank : all) rank->listen(introductions);
    for (const auto& rank : all) places.push_back(rank->place());
  }

  int size() const { return static_cast<int>(all.size()); }

  // All connect at once; the first complaint is thrown.
  void connect() {
    each(size(), [&](int rank) { all[rank]->connect(places, Links::Clock::now() + kNever); });
  }

  // Whether every pair can speak, and hears nobody else.
  bool speak() {
    for (int from = 0; from < size(); ++from) {
      for (int to = 0; to < size(); ++to) {
        if (from == to) continue;
        const uint8_t said = static_cast<uint8_t>(16 * from + to);
        if (write(all[from]->socket(to), &said, 1) != 1) return false;
        uint8_t heard = 0;
        while (read(all[to]->socket(from), &heard, 1) < 0 && errno == EAGAIN) {
        }
        if (heard != said) return false;
      }
    }
    return true;
  }

  const SocketAddress& address(int rank, Way way) const {
    return way == Way::local ? places[rank].local : places[rank].network;
  }

  std::vector<std::unique_ptr<Links>> all;
  std::vector<Links::Introduction> introductions;
  std::vector<Links::Place> places;
};

Descriptor callAt(const SocketAddress& address) {
  Descriptor socket(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(socket.get(), address.get(), address.length) != 0) return Descriptor();
  return socket;
}

void connects(Way way) {
  for (const int size : {2, 3, 5}) {
    Ranks ranks(size, way);
    for (int rank = 0; rank < size; ++rank) {
      // Only where somebody will call, and only the way that he takes.
      const bool called = rank + 1 < size;
      CHECK((ranks.places[rank].local.length != 0) == (called && way == Way::local));
      CHECK((ranks.places[rank].network.length != 0) == (called && way == Way::network));
    }
    ranks.connect();
    CHECK(ranks.speak());
    for (int rank = 0; rank + 1 < size; ++rank) CHECK(!callAt(ranks.address(rank, way)));
  }
}

// Two machines of two ranks each: both ways at once.
void connectsMachines() {
  Ranks ranks(4, Way::local);
  std::vector<Links::Introduction> introductions = ranks.introductions;
  introductions[2].machine[0] ^= 1;
  introductions[3].machine[0] ^= 1;
  Ranks there(4, Way::local);
  for (int rank = 0; rank < 4; ++rank) {
    there.all[rank] = std::make_unique<Links>(rank, 4, kNever);
    there.all[rank]->listen(introductions);
    there.places[rank] = there.all[rank]->place();
  }
  CHECK(there.places[0].local.length != 0 && there.places[0].network.length != 0);
  CHECK(there.places[2].local.length != 0 && there.places[2].network.length == 0);
  there.connect();
  CHECK(there.speak());
}

// Strangers that say what the attack on Gloo's ports said, noise, nothing, too little or too much:
// they call before, while and faster than the ranks do.
void dropsStrangers(Way way) {
  for (const std::string& said :
       {std::string(8, '\0'), std::string("\1\0\0\0\0\0\0\0", 8), std::string(),
        std::string("\1\0\0\0", 4) + std::string(64, '\7'), std::string(100'000, 'x')}) {
    Ranks ranks(3, way);
    std::atomic<bool> over{false};
    std::atomic<int> calls{0};
    std::vector<std::future<void>> strangers;
    for (int rank = 0; rank < 2; ++rank) {
      strangers.push_back(std::async(std::launch::async, [&, rank] {
        std::vector<Descriptor> kept;
        while (!over) {
          Descriptor socket = callAt(ranks.address(rank, way));
          if (!socket) continue;
          ++calls;
          send(socket.get(), said.data(), said.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
          kept.push_back(std::move(socket));
          if (kept.size() > 100) kept.erase(kept.begin(), kept.begin() + 50);
        }
      }));
    }
    while (calls < 100) std::this_thread::yield();
    CHECK(complaint([&] { ranks.connect(); }) == "nothing");
    over = true;
    for (auto& stranger : strangers) stranger.get();
    CHECK(ranks.speak());
  }
}

// A peer that knows everything but the secret, and plays its part to the end.
void refusesOtherSecrets(Way way) {
  Ranks ranks(2, way);
  std::vector<Links::Introduction> others = ranks.introductions;
  others[0].secret[5] ^= 1;
  Links stranger(1, 2, kNever);
  stranger.listen(others);
  auto refused = std::async(std::launch::async, [&] {
    return complaint([&] { stranger.connect(ranks.places, Links::Clock::now() + kNever); });
  });
  auto first = std::async(std::launch::async, [&] {
    return complaint([&] { ranks.all[0]->connect(ranks.places, Links::Clock::now() + kNever); });
  });
  CHECK(first.wait_for(std::chrono::milliseconds(300)) == std::future_status::timeout);
  CHECK(complaint([&] { ranks.all[1]->connect(ranks.places, Links::Clock::now() + kNever); }) ==
        "nothing");
  CHECK(first.get() == "nothing");
  CHECK(ranks.speak());
  stranger.shut();
  CHECK(refused.get() == "aborted by this process");
}

// A stranger in the listener's place gets a proof that is good for nothing, and is not believed.
void refusesOtherListeners(Way way) {
  Ranks ranks(2, way);
  std::vector<Links::Introduction> others = ranks.introductions;
  others[0].secret[5] ^= 1;
  Links stranger(0, 2, kNever);
  stranger.listen(others);
  std::vector<Links::Place> places{stranger.place(), {}};
  auto accepts = std::async(std::launch::async, [&] {
    return complaint([&] { stranger.connect(places, Links::Clock::now() + kNever); });
  });
  std::string told;
  for (seconds time{1}; !contains(told, "it hung up") && time < kNever; time *= 2)
    told = complaint([&] { ranks.all[1]->connect(places, Links::Clock::now() + time); });
  CHECK(contains(told, "rank 0") && contains(told, " could not be reached: it hung up"));
  stranger.shut();
  CHECK(accepts.get() == "aborted by this process");
}

// Another user's connection ends before a word is said. Only root can play another user.
void refusesOtherUsers() {
  if (geteuid() != 0) return;
  Ranks ranks(2, Way::local);
  const pid_t child = fork();
  if (child == 0) {
    if (setuid(65534) != 0) _exit(1);
    const Descriptor socket = callAt(ranks.places[0].local);
    uint8_t heard;
    // The connection stands, and not even the challenge comes.
    _exit(socket && recv(socket.get(), &heard, 1, 0) <= 0 ? 0 : 1);
  }
  auto waits = std::async(std::launch::async, [&] {
    return complaint([&] { ranks.all[0]->connect(ranks.places, Links::Clock::now() + kNever); });
  });
  int status = 1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(complaint([&] { ranks.all[1]->connect(ranks.places, Links::Clock::now() + kNever); }) ==
        "nothing");
  CHECK(waits.get() == "nothing");
}

// The port in an error is the one that the system shows.
void namesThePort() {
  Ranks ranks(2, Way::network);
  const auto* address = reinterpret_cast<const sockaddr_in*>(ranks.places[0].network.get());
  const std::string port = std::to_string(ntohs(address->sin_port));
  ranks.all[0].reset();
  CHECK(complaint([&] {
          ranks.all[1]->connect(ranks.places, Links::Clock::now() + std::chrono::milliseconds(500));
        }) ==
        "rank 0 at 127.0.0.1:" + port + " could not be reached: Connection refused" + kAdvice);

  SocketAddress six;
  six.bytes.ss_family = AF_INET6;
  six.length = sizeof(sockaddr_in6);
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&six.bytes);
  inet_pton(AF_INET6, "2001:db8::7", &in6->sin6_addr);
  in6->sin6_port = htons(258);
  CHECK(six.words() == "[2001:db8::7]:258");
}

void namesTheAddress() {
  setenv("ONEHOUR_OWN_ADDRESS", "192.0.2.1", 1);  // reserved for documents: no machine's
  const std::string told = complaint([] { Ranks ranks(2, Way::network); });
  CHECK(contains(told, "cannot listen at 192.0.2.1 (Cannot assign requested address)"));
  CHECK(contains(told, "set ONEHOUR_HOST to an address of this machine"));
  setenv("ONEHOUR_OWN_ADDRESS", "127.0.0.2", 1);
  Ranks ranks(2, Way::network);
  CHECK(ranks.places[0].network.words().starts_with("127.0.0.2:"));
  ranks.connect();
  unsetenv("ONEHOUR_OWN_ADDRESS");
}

// A link-local address goes by the interface of this machine's own.
void reachesTheLink() {
  const auto six = [](const char* text, uint32_t scope) {
    SocketAddress address;
    address.bytes.ss_family = AF_INET6;
    address.length = sizeof(sockaddr_in6);
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&address.bytes);
    inet_pton(AF_INET6, text, &in6->sin6_addr);
    in6->sin6_scope_id = scope;
    return address;
  };
  const auto scopeOf = [](const SocketAddress& address) {
    return reinterpret_cast<const sockaddr_in6*>(address.get())->sin6_scope_id;
  };
  SocketAddress peer = six("fe80::2", 7);
  reachFrom(peer, six("fe80::1", 3));
  CHECK(scopeOf(peer) == 3);
  SocketAddress global = six("2001:db8::2", 0);
  reachFrom(global, six("fe80::1", 3));
  CHECK(scopeOf(global) == 0);
}

void givesUp() {
  Ranks ranks(3, Way::network);
  CHECK(complaint([&] { ranks.all[0]->connect(ranks.places, Links::Clock::now()); }) ==
        "rank 1 did not call, rank 2 did not call" + kAdvice);
  Ranks others(2, Way::local);
  auto waits = std::async(std::launch::async, [&] {
    return complaint([&] { others.all[0]->connect(others.places, Links::Clock::now() + kNever); });
  });
  CHECK(waits.wait_for(std::chrono::milliseconds(50)) == std::future_status::timeout);
  others.all[0]->shut();
  CHECK(waits.get() == "aborted by this process");
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({
      {"another user is refused", refusesOtherUsers},  // forks: before any thread
      {"ranks of one machine connect", [] { connects(Way::local); }},
      {"ranks of several machines connect", [] { connects(Way::network); }},
      {"machines of several ranks connect", connectsMachines},
      {"strangers on a Unix socket are dropped", [] { dropsStrangers(Way::local); }},
      {"strangers on a port are dropped", [] { dropsStrangers(Way::network); }},
      {"another secret is refused", [] { refusesOtherSecrets(Way::local); }},
      {"another secret is refused at a port", [] { refusesOtherSecrets(Way::network); }},
      {"a stranger that listens is refused", [] { refusesOtherListeners(Way::local); }},
      {"a stranger that listens at a port is refused", [] { refusesOtherListeners(Way::network); }},
      {"errors name the port", namesThePort},
      {"errors name the address to listen at", namesTheAddress},
      {"a link-local address goes by the own interface", reachesTheLink},
      {"ranks that do not come are named", givesUp},
  });
}
