#include "gloo-context.h"

#include <gloo/transport/context.h>
#include <gloo/transport/pair.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../core/words.h"

namespace onehour::cpu {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kAsking{1000};  // between looks at whether peers still answer

class Buffer;

// The header of each message.
struct Header {
  uint64_t slot;  // of Gloo's: the collective and its number
  uint64_t bytes;
};

// A message on its way, one way or the other.
struct Transfer {
  Buffer* buffer;
  std::byte* data;
  Header header;
  size_t done = 0;  // bytes, with the header's
};

struct Peer {
  int rank;
  int socket;
  std::deque<Transfer> out;
  std::deque<Transfer> in;  // in the order in which Gloo expects them, in which they also come
  Header heard;
};

// Gloo's collectives only ask a pair whether it is connected.
class Pair final : public gloo::transport::Pair {
 public:
  const gloo::transport::Address& address() const override { refuse(); }
  void connect(const std::vector<char>&) override { refuse(); }
  void close() override {}
  void setSync(bool, bool) override { refuse(); }
  std::unique_ptr<gloo::transport::Buffer> createSendBuffer(int, void*, size_t) override {
    refuse();
  }
  std::unique_ptr<gloo::transport::Buffer> createRecvBuffer(int, void*, size_t) override {
    refuse();
  }
  void send(gloo::transport::UnboundBuffer*, uint64_t, size_t, size_t) override { refuse(); }
  void recv(gloo::transport::UnboundBuffer*, uint64_t, size_t, size_t) override { refuse(); }

 private:
  [[noreturn]] static void refuse() {
    throw std::logic_error("messages go through buffers of the context");
  }
};

class Transport final : public gloo::transport::Context {
 public:
  Transport(int rank, int size, const Links& links)
      : gloo::transport::Context(rank, size), links_(links), peers_(size) {
    for (int peer = 0; peer < size; ++peer) {
      peers_[peer].rank = peer;
      peers_[peer].socket = links.socket(peer);
      if (peer != rank) createPair(peer);
    }
  }

  std::unique_ptr<gloo::transport::Pair>& createPair(int peer) override {
    return pairs_.at(peer) = std::make_unique<Pair>();
  }

  std::unique_ptr<gloo::transport::UnboundBuffer> createUnboundBuffer(void* data,
                                                                      size_t bytes) override;

  void send(int rank, const Transfer& transfer) {
    peers_.at(rank).out.push_back(transfer);
    write(peers_[rank]);
  }
  void receive(int rank, const Transfer& transfer) { peers_.at(rank).in.push_back(transfer); }

  // Moves bytes, of all messages, until `count` is not 0.
  void await(const int& count, const Buffer* buffer, milliseconds patience);

  // Of messages in progress: Gloo leaves some only when it throws.
  void forget(const Buffer* buffer) {
    const auto isIts = [&](const Transfer& transfer) { return transfer.buffer == buffer; };
    for (Peer& peer : peers_) {
      std::erase_if(peer.out, isIts);
      std::erase_if(peer.in, isIts);
    }
  }

 private:
  void write(Peer& peer);
  void read(Peer& peer);
  [[noreturn]] void fail(const Peer& peer, const std::string& what) const {
    throw std::runtime_error(links_.isShut() ? "aborted by this process"
                                             : links_.name(peer.rank) + " " + what);
  }
  // What recv or send gave: bytes, or none for now, else the connection is lost.
  size_t moved(const Peer& peer, ssize_t result) const {
    if (result > 0) return static_cast<size_t>(result);
    if (result < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    fail(peer, result == 0 ? "has closed its connection"
                           : std::string("is lost: ") + std::strerror(errno));
  }

  const Links& links_;
  std::vector<Peer> peers_;
};

class Buffer final : public gloo::transport::UnboundBuffer {
 public:
  Buffer(Transport& transport, void* data, size_t bytes)
      : UnboundBuffer(data, bytes), transport_(transport) {}
  ~Buffer() override { transport_.forget(this); }

  void send(int rank, uint64_t slot, size_t offset, size_t bytes) override {
    transport_.send(rank, transfer(slot, offset, bytes));
  }
  void recv(int rank, uint64_t slot, size_t offset, size_t bytes) override {
    transport_.receive(rank, transfer(slot, offset, bytes));
  }
  void recv(std::vector<int> ranks, uint64_t slot, size_t offset, size_t bytes) override {
    if (ranks.size() != 1) throw std::logic_error("a message from any of several ranks");
    recv(ranks[0], slot, offset, bytes);
  }

  bool waitSend(int*, milliseconds timeout) override { return await(sent, timeout); }
  bool waitRecv(int*, milliseconds timeout) override { return await(received, timeout); }
  void abortWaitSend() override {}
  void abortWaitRecv() override {}

  int sent = 0;
  int received = 0;

 private:
  Transfer transfer(uint64_t slot, size_t offset, size_t bytes) {
    if (bytes == kUnspecifiedByteCount) bytes = size - offset;
    return {this, static_cast<std::byte*>(ptr) + offset, {slot, bytes}};
  }
  bool await(int& count, milliseconds timeout) {
    transport_.await(count, this,
                     timeout == gloo::transport::kUnsetTimeout ? transport_.getTimeout() : timeout);
    --count;
    return true;
  }

  Transport& transport_;
};

std::unique_ptr<gloo::transport::UnboundBuffer> Transport::createUnboundBuffer(void* data,
                                                                               size_t bytes) {
  return std::make_unique<Buffer>(*this, data, bytes);
}

void Transport::write(Peer& peer) {
  while (!peer.out.empty()) {
    Transfer& next = peer.out.front();
    const size_t inData = next.done < sizeof(Header) ? 0 : next.done - sizeof(Header);
    iovec parts[2] = {{reinterpret_cast<std::byte*>(&next.header) + next.done,
                       next.done < sizeof(Header) ? sizeof(Header) - next.done : 0},
                      {next.data + inData, next.header.bytes - inData}};
    if (parts[0].iov_len == 0) parts[0].iov_base = &next.header;
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    const size_t bytes = moved(peer, sendmsg(peer.socket, &message, MSG_NOSIGNAL));
    if (bytes == 0) return;
    next.done += bytes;
    if (next.done < sizeof(Header) + next.header.bytes) continue;
    ++next.buffer->sent;
    peer.out.pop_front();
  }
}

void Transport::read(Peer& peer) {
  while (!peer.in.empty()) {
    Transfer& next = peer.in.front();
    if (next.done < sizeof(Header)) {
      const size_t bytes =
          moved(peer, recv(peer.socket, reinterpret_cast<std::byte*>(&peer.heard) + next.done,
                           sizeof(Header) - next.done, 0));
      if (bytes == 0) return;
      next.done += bytes;
      if (next.done < sizeof(Header)) continue;
      if (peer.heard.slot != next.header.slot || peer.heard.bytes != next.header.bytes) {
        fail(peer, "calls another collective, or one of another size: it sends " +
                       counted(peer.heard.bytes, "byte") + " where this rank expects " +
                       std::to_string(next.header.bytes));
      }
    } else {
      const size_t inData = next.done - sizeof(Header);
      const size_t bytes =
          moved(peer, recv(peer.socket, next.data + inData, next.header.bytes - inData, 0));
      if (bytes == 0) return;
      next.done += bytes;
    }
    if (next.done < sizeof(Header) + next.header.bytes) continue;
    ++next.buffer->received;
    peer.in.pop_front();
  }
}

void Transport::await(const int& count, const Buffer* buffer, milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  Clock::time_point askAgain = Clock::now() + kAsking;
  std::vector<pollfd> polled;
  for (;;) {
    for (Peer& peer : peers_) {
      write(peer);
      read(peer);
    }
    if (count != 0) return;
    if (links_.isShut()) throw std::runtime_error("aborted by this process");
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) break;
    const bool asks = Clock::now() >= askAgain;
    if (asks) askAgain = Clock::now() + kAsking;
    polled.assign(1, {links_.shutSignal(), POLLIN, 0});
    for (const Peer& peer : peers_) {
      const int events = (peer.out.empty() ? 0 : POLLOUT) | (peer.in.empty() ? 0 : POLLIN);
      if (events == 0) continue;
      if (asks && links_.isQuiet(peer.rank)) {
        fail(peer, "is unreachable: its machine has not answered for " +
                       std::to_string(links_.quiet().count() / 1000) + " s");
      }
      polled.push_back({peer.socket, static_cast<short>(events), 0});
    }
    poll(polled.data(), polled.size(), static_cast<int>(std::min<int64_t>(left, 1000)));
  }
  const std::string time = " within " + std::to_string(patience.count() / 1000) + " s";
  for (const Peer& peer : peers_) {
    for (const auto* transfers : {&peer.in, &peer.out}) {
      for (const Transfer& transfer : *transfers) {
        if (transfer.buffer == buffer) fail(peer, "did not come" + time);
      }
    }
  }
  throw std::runtime_error("nothing came" + time);
}

}  // namespace

GlooContext::GlooContext(int rank, int size, const Links& links, milliseconds timeout)
    : gloo::Context(rank, size) {
  transportContext_ = std::make_shared<Transport>(rank, size, links);
  transportContext_->setTimeout(timeout);
  setTimeout(timeout);
}

}  // namespace onehour::cpu
