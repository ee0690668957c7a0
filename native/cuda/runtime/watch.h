// Completes submissions on a thread of its own, and aborts those that a lost peer, network or
// device blocks.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "cuda.h"

namespace onehour::cuda {

// A communicator as the watch sees it. Called from the watch's thread.
class Peers {
 public:
  virtual ~Peers() = default;
  // The error of a peer or of the network, if there is one; never blocks.
  virtual std::optional<Error> fault() noexcept = 0;
  // Ends the collectives that are on the device.
  virtual void abort() noexcept = 0;
  virtual int size() const = 0;
  virtual double timeoutSeconds() const = 0;
};

class Watch {
 public:
  // `fault` lies in mapped host memory: what kernels noted.
  Watch(int ordinal, const volatile Fault* fault);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Looks after a communicator for as long as it lives.
  void add(std::weak_ptr<Peers> peers);

  // Calls `done` from the watch's thread, once, with an error or null, when the work that is on the
  // stream now has ended.
  void follow(cudaStream_t stream, std::function<void(std::exception_ptr)> done);

  // Waits for the work that is on the stream now, at most until the watch gives it up; rethrows.
  void wait(cudaStream_t stream);

 private:
  struct Item {
    EventHandle end;
    std::function<void(std::exception_ptr)> done;
  };

  void run();
  std::exception_ptr outcome(cudaEvent_t end);
  std::optional<Error> noted() const;
  std::optional<Error> peerFault(double pendingSeconds);
  std::vector<std::shared_ptr<Peers>> livingPeers();
  void abortPeers();

  const int ordinal_;
  const volatile Fault* const fault_;
  std::mutex mutex_;  // guards items_, peers_ and closed_
  std::condition_variable changed_;
  std::deque<Item> items_;
  std::vector<std::weak_ptr<Peers>> peers_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace onehour::cuda
