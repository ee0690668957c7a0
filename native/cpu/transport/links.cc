// How two ranks introduce themselves. The listener sends a challenge; the caller sends its rank, a
// challenge of its own and a proof over both; the listener answers with its proof.
#include "links.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "../../core/liveness.h"
#include "machine.h"

namespace onehour::cpu {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kGreeting{5};         // from a connection to its proof
constexpr milliseconds kPause{50};      // from a call that failed to the next one
constexpr milliseconds kNap{100};       // between looks at deadlines
constexpr size_t kMostStrangers = 256;  // above the number of ranks: room to get through a flood
constexpr int kAcceptsAtOnce = 16;

struct Challenge {
  Digest nonce;
};

struct Hello {
  uint32_t rank;
  Digest nonce;
  Digest proof;
};

struct Welcome {
  Digest proof;
};

std::string problem() { return std::strerror(errno); }

Descriptor openSocket(int family) {
  return Descriptor(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// False where the address is none of this machine's.
bool listenAt(const SocketAddress& wanted, Descriptor& listener, SocketAddress& address) {
  Descriptor opened = openSocket(wanted.bytes.ss_family);
  if (!opened || bind(opened.get(), wanted.get(), wanted.length) != 0 ||
      ::listen(opened.get(), SOMAXCONN) != 0) {
    return false;
  }
  address.length = sizeof(address.bytes);
  auto* own = reinterpret_cast<sockaddr*>(&address.bytes);
  if (getsockname(opened.get(), own, &address.length) != 0) return false;
  listener = std::move(opened);
  return true;
}

SocketAddress peerOf(const Descriptor& socket) {
  SocketAddress address;
  address.length = sizeof(address.bytes);
  getpeername(socket.get(), reinterpret_cast<sockaddr*>(&address.bytes), &address.length);
  return address;
}

// Whether the kernel says that the other end is this user's too.
bool isOwnUser(int socket) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid();
}

template <typename Message>
bool sendWhole(int socket, const Message& message) {
  return send(socket, &message, sizeof(message), MSG_NOSIGNAL) == sizeof(message);
}

}  // namespace

// A connection that is not proven yet.
struct Links::Conversation {
  Descriptor socket;
  bool calling;  // this rank called, so it knows the peer
  int peer;      // -1 until it is known
  bool local;
  Clock::time_point until;
  enum { connecting, challenge, hello, welcome } expects;
  Digest listenersNonce{};
  Digest callersNonce{};
  std::vector<uint8_t> heard{};

  // The message that was expected, when it is here whole.
  template <typename Message>
  const Message& whole() const {
    return *reinterpret_cast<const Message*>(heard.data());
  }
};

Links::Links(int rank, int size, milliseconds quiet)
    : rank_(rank),
      size_(size),
      quiet_(quiet),
      introduction_{machineOfSockets(), randomDigest()},
      names_(size),
      sockets_(size),
      signal_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!signal_) throw std::runtime_error("no event descriptor: " + problem());
}

Links::~Links() = default;

bool Links::isHere(int rank) const {
  const Digest& own = ranks_[rank_].machine;
  return own != Digest{} && ranks_[rank].machine == own;
}

void Links::listen(const std::vector<Introduction>& ranks) {
  ranks_ = ranks;
  bool here = false;
  bool elsewhere = false;
  bool network = false;
  for (int rank = 0; rank < size_; ++rank) {
    network = network || !isHere(rank);
    if (rank > rank_) (isHere(rank) ? here : elsewhere) = true;
  }
  if (here) {
    SocketAddress any;  // the kernel chooses a free name
    any.bytes.ss_family = AF_UNIX;
    any.length = sizeof(sa_family_t);
    if (!listenAt(any, local_.socket, local_.address))
      throw std::runtime_error("no Unix socket: " + problem());
  }
  if (!network) return;
  std::string reason;
  const auto [where, addresses] = ownAddresses();
  if (!addresses.empty()) own_ = addresses.front();
  if (!elsewhere) return;
  for (const SocketAddress& wanted : addresses) {
    if (listenAt(wanted, network_.socket, network_.address)) {
      own_ = network_.address;
      return;
    }
    reason = problem();
  }
  throw cannotListen(where, reason);
}

void Links::connect(const std::vector<Place>& places, Clock::time_point deadline) {
  places_ = places;
  conversations_.clear();
  refusals_.assign(size_, "no answer");
  callAgain_.assign(size_, Clock::now());
  for (;;) {
    const Clock::time_point now = Clock::now();
    if (isShut()) throw std::runtime_error("aborted by this process");
    bool complete = true;
    for (int rank = 0; rank < size_; ++rank) {
      if (rank == rank_ || sockets_[rank]) continue;
      complete = false;
      if (rank < rank_ && now >= callAgain_[rank]) call(rank, now);
    }
    if (complete) break;
    if (now >= deadline) giveUp();

    std::vector<pollfd> polled{{signal_.get(), POLLIN, 0},
                               {local_.socket.get(), POLLIN, 0},
                               {network_.socket.get(), POLLIN, 0}};
    for (const Conversation& one : conversations_) {
      const short events = one.expects == Conversation::connecting ? POLLOUT : POLLIN;
      polled.push_back({one.socket.get(), events, 0});
    }
    poll(polled.data(), polled.size(), static_cast<int>(kNap.count()));
    size_t index = 3;
    for (auto one = conversations_.begin(); one != conversations_.end(); ++index) {
      const bool goesOn = polled[index].revents == 0 ? now < one->until : proceed(*one);
      if (goesOn) {
        ++one;
        continue;
      }
      if (one->calling) callAgain_[one->peer] = now + kPause;
      one = conversations_.erase(one);
    }
    // New callers come after those that have spoken: a flood does not push those out.
    if (polled[1].revents != 0) accept(local_, now);
    if (polled[2].revents != 0) accept(network_, now);
  }
  conversations_.clear();
  local_.socket = Descriptor();
  network_.socket = Descriptor();
}

void Links::call(int rank, Clock::time_point now) {
  callAgain_[rank] = Clock::time_point::max();  // until this call has failed
  const bool local = isHere(rank);
  SocketAddress address = local ? places_[rank].local : places_[rank].network;
  reachFrom(address, own_);
  Conversation one{openSocket(address.bytes.ss_family),
                   true,
                   rank,
                   local,
                   now + kGreeting,
                   Conversation::connecting};
  endWhenSilent(one.socket.get(), quiet_);
  const int status = ::connect(one.socket.get(), address.get(), address.length);
  if (status == 0 || errno == EINPROGRESS) {
    conversations_.push_back(std::move(one));
  } else {
    refusals_[rank] = problem();
    callAgain_[rank] = now + kPause;
  }
}

void Links::accept(Listener& listener, Clock::time_point now) {
  for (int count = 0; count < kAcceptsAtOnce; ++count) {
    Descriptor socket(
        accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE) dropStranger();
      return;
    }
    const bool local = listener.address.isLocal();
    if (local && !isOwnUser(socket.get())) continue;
    if (conversations_.size() >= kMostStrangers + 2 * static_cast<size_t>(size_)) dropStranger();
    const Challenge challenge{randomDigest()};
    if (!sendWhole(socket.get(), challenge)) continue;
    endWhenSilent(socket.get(), quiet_);
    conversations_.push_back({std::move(socket), false, -1, local, now + kGreeting,
                              Conversation::hello, challenge.nonce});
  }
}

void Links::dropStranger() {
  std::vector<std::list<Conversation>::iterator> callers;
  for (auto one = conversations_.begin(); one != conversations_.end(); ++one)
    if (!one->calling) callers.push_back(one);
  if (!callers.empty()) conversations_.erase(callers[random_() % callers.size()]);
}

Digest Links::proof(const char* role, const Conversation& conversation) const {
  const int caller = conversation.calling ? rank_ : conversation.peer;
  const int listener = conversation.calling ? conversation.peer : rank_;
  std::string message = std::string("onehour ") + role + " " + std::to_string(caller) + " calls " +
                        std::to_string(listener) + " of " + std::to_string(size_) + "\n";
  message.append(conversation.listenersNonce.begin(), conversation.listenersNonce.end());
  message.append(conversation.callersNonce.begin(), conversation.callersNonce.end());
  return hmac(ranks_[0].secret, message);
}

bool Links::proceed(Conversation& one) {
  if (one.expects != Conversation::connecting) return hear(one);
  int status = 0;
  socklen_t length = sizeof(status);
  getsockopt(one.socket.get(), SOL_SOCKET, SO_ERROR, &status, &length);
  if (status != 0) {
    refusals_[one.peer] = std::strerror(status);
    return false;
  }
  if (one.local && !isOwnUser(one.socket.get())) {
    refusals_[one.peer] = "another user listens there";
    return false;
  }
  one.expects = Conversation::challenge;
  return true;
}

bool Links::hear(Conversation& one) {
  const size_t bytes = one.expects == Conversation::hello       ? sizeof(Hello)
                       : one.expects == Conversation::challenge ? sizeof(Challenge)
                                                                : sizeof(Welcome);
  const size_t before = one.heard.size();
  // Never more than the message: what follows is the collectives'.
  one.heard.resize(bytes);
  const ssize_t got = recv(one.socket.get(), one.heard.data() + before, bytes - before, 0);
  one.heard.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got <= 0) {
    if (one.calling) refusals_[one.peer] = got == 0 ? "it hung up" : problem();
    return false;
  }
  if (one.heard.size() < bytes) return true;

  switch (one.expects) {
    case Conversation::challenge: {
      one.listenersNonce = one.whole<Challenge>().nonce;
      one.callersNonce = randomDigest();
      const Hello hello{static_cast<uint32_t>(rank_), one.callersNonce, proof("caller", one)};
      one.expects = Conversation::welcome;
      // From here on the other side may count this connection as made, so it is not given up.
      one.until = Clock::time_point::max();
      one.heard.clear();
      return sendWhole(one.socket.get(), hello);
    }
    case Conversation::hello: {
      const Hello& hello = one.whole<Hello>();
      if (hello.rank <= static_cast<uint32_t>(rank_) || hello.rank >= ranks_.size()) return false;
      one.peer = static_cast<int>(hello.rank);
      one.callersNonce = hello.nonce;
      if (isHere(one.peer) == one.local && sameDigest(hello.proof, proof("caller", one)) &&
          sendWhole(one.socket.get(), Welcome{proof("listener", one)})) {
        take(one);
      }
      return false;
    }
    default:
      if (sameDigest(one.whole<Welcome>().proof, proof("listener", one))) {
        take(one);
      } else {
        refusals_[one.peer] = "a stranger listens there";
      }
      return false;
  }
}

void Links::take(Conversation& one) {
  const int on = 1;
  if (!one.local) {
    setsockopt(one.socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    // From now on a peer may leave what comes unread for as long as its steps take.
    probePeer(one.socket.get(), quiet_);
  }
  names_[one.peer] = name(one.peer, peerOf(one.socket));
  const std::lock_guard<std::mutex> lock(socketsLock_);
  sockets_[one.peer] = std::move(one.socket);
}

std::string Links::way(int rank) const {
  return isHere(rank) ? "Unix socket" : "TCP to " + peerOf(sockets_[rank]).words();
}

std::string Links::name(int rank, const SocketAddress& address) const {
  return "rank " + std::to_string(rank) + (isHere(rank) ? "" : " at " + address.words());
}

void Links::giveUp() const {
  std::string message;
  bool elsewhere = false;
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == rank_ || sockets_[rank]) continue;
    elsewhere = elsewhere || !isHere(rank);
    if (!message.empty()) message += ", ";
    message += rank > rank_ ? "rank " + std::to_string(rank) + " did not call"
                            : name(rank, places_[rank].network) +
                                  " could not be reached: " + refusals_[rank];
  }
  if (elsewhere) {
    message +=
        ". All hosts must share the network of these addresses, and no firewall may stand "
        "between them; ONEHOUR_INTERFACE chooses another interface of a host";
  }
  throw std::runtime_error(message);
}

void Links::shut() noexcept {
  shut_ = true;
  eventfd_write(signal_.get(), 1);
  const std::lock_guard<std::mutex> lock(socketsLock_);
  for (const Descriptor& socket : sockets_) {
    if (socket) shutdown(socket.get(), SHUT_RDWR);
  }
}

}  // namespace onehour::cpu
