// Connections between the ranks of a group, each of which both sides have proven before anything
// else passes: Unix sockets on one machine, TCP between machines.
#pragma once

#include <atomic>
#include <chrono>
#include <list>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "../../core/liveness.h"
#include "descriptor.h"
#include "proof.h"
#include "socket-address.h"

namespace onehour::cpu {

class Links {
 public:
  using Clock = std::chrono::steady_clock;

  // What a rank sends the others before any of them listens.
  struct Introduction {
    Digest machine{};  // see machineOfSockets
    Digest secret{};   // rank 0's is the group's
  };

  // Where the other ranks reach this one.
  struct Place {
    SocketAddress local;
    SocketAddress network;
  };

  // A peer whose machine does not answer for `quiet` counts as lost; see core/liveness.h.
  Links(int rank, int size, std::chrono::milliseconds quiet);
  ~Links();
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  Introduction introduction() const { return introduction_; }

  // Listens where a rank of a higher number will call: a Unix socket for those of this machine, a
  // port for the others. Throws std::runtime_error where that cannot be.
  void listen(const std::vector<Introduction>& ranks);
  Place place() const { return {local_.address, network_.address}; }

  // Connects all pairs, given the ranks' places, and stops listening. A stranger, which cannot
  // prove that it knows the secret, is soon dropped. Throws std::runtime_error naming the ranks
  // that did not connect before the deadline, and after `shut`.
  void connect(const std::vector<Place>& places, Clock::time_point deadline);

  // Whether the machine of a connected rank has not answered for `quiet`.
  bool isQuiet(int rank) const { return isSilent(sockets_[rank].get(), quiet_); }
  std::chrono::milliseconds quiet() const { return quiet_; }

  int socket(int rank) const { return sockets_[rank].get(); }
  const std::string& name(int rank) const { return names_[rank]; }  // "rank 1 at 10.0.0.2:4000"
  std::string way(int rank) const;                                  // "TCP to 10.0.0.2:4000"

  // From any thread: ends this rank's waits and its connections, which the others notice.
  void shut() noexcept;
  bool isShut() const { return shut_; }
  int shutSignal() const { return signal_.get(); }  // readable from then on

 private:
  struct Listener {
    Descriptor socket;
    SocketAddress address;
  };
  struct Conversation;

  bool isHere(int rank) const;  // on this machine
  std::string name(int rank, const SocketAddress& address) const;
  void call(int rank, Clock::time_point now);
  void accept(Listener& listener, Clock::time_point now);
  // Drops a stranger at random: even a fast flood then keeps no rank out for long.
  void dropStranger();
  // Handles what came next in a conversation; false ends it.
  bool proceed(Conversation& conversation);
  bool hear(Conversation& conversation);
  void take(Conversation& conversation);  // as proven
  Digest proof(const char* role, const Conversation& conversation) const;
  [[noreturn]] void giveUp() const;

  const int rank_;
  const int size_;
  const std::chrono::milliseconds quiet_;
  const Introduction introduction_;
  std::vector<Introduction> ranks_;
  std::vector<Place> places_;
  Listener local_;
  Listener network_;
  SocketAddress own_;  // on the network
  std::list<Conversation> conversations_;
  std::minstd_rand random_{std::random_device{}()};
  std::vector<Clock::time_point> callAgain_;  // by rank
  std::vector<std::string> refusals_;         // by rank, why the last call failed
  std::vector<std::string> names_;            // by rank, of the proven
  std::mutex socketsLock_;                    // while they change, and for `shut`
  std::vector<Descriptor> sockets_;           // by rank, proven
  std::atomic<bool> shut_{false};
  Descriptor signal_;
};

}  // namespace onehour::cpu
