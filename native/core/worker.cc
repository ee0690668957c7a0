// Thread and Worker share the queue, so either can be destroyed first.
#include "worker.h"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace onehour {

struct Worker::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> jobs;
  bool stopping = false;
  bool finished = false;
  std::thread thread;

  void loop() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return stopping || !jobs.empty(); });
      if (jobs.empty()) break;
      std::function<void()> job = std::move(jobs.front());
      jobs.pop_front();
      lock.unlock();
      job();
      job = nullptr;  // what the job holds is released outside the lock
      lock.lock();
    }
    finished = true;
    changed.notify_all();
  }
};

Worker::Worker(const std::string& name) : state_(std::make_shared<State>()) {
  state_->thread = std::thread([state = state_] { state->loop(); });
  pthread_setname_np(state_->thread.native_handle(), name.substr(0, 15).c_str());
}

Worker::~Worker() {
  stop();
  if (state_->thread.joinable()) state_->thread.detach();
}

bool Worker::post(std::function<void()> job) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopping) return false;
    state_->jobs.push_back(std::move(job));
  }
  state_->changed.notify_all();
  return true;
}

void Worker::stop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
}

bool Worker::finished() const {
  const std::lock_guard lock(state_->mutex);
  return state_->finished;
}

bool Worker::join(Clock::time_point deadline) {
  {
    std::unique_lock lock(state_->mutex);
    if (!state_->changed.wait_until(lock, deadline, [this] { return state_->finished; })) {
      return false;
    }
  }
  if (state_->thread.joinable()) state_->thread.join();
  return true;
}

}  // namespace onehour
