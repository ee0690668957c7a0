// A native thread with a queue of jobs, whose end can be awaited for a bounded time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace onehour {

class Worker {
 public:
  using Clock = std::chrono::steady_clock;

  // `name` is what debuggers show, at most 15 characters.
  explicit Worker(const std::string& name);
  // Stops, and leaves the thread to itself if nobody joined it: what its jobs hold stays alive.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Queues a job, which must not throw. False after `stop`: the job is dropped.
  bool post(std::function<void()> job);
  // The thread ends when the jobs queued so far are done.
  void stop();
  bool finished() const;
  // Waits for the end of the thread (call `stop` first). False when the deadline passes first; the
  // thread then stays as it is and may be joined again.
  bool join(Clock::time_point deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace onehour
