// Jobs are taken in the order in which they were begun; a thread ends when there is none left.
#include "plans-ahead.h"

#include <algorithm>
#include <utility>

#include "../../core/progress.h"

namespace onehour::cuda {

PlansAhead::PlansAhead(int threads, MakeTarget makeTarget)
    : most_(static_cast<size_t>(std::max(threads, 1))), makeTarget_(std::move(makeTarget)) {}

PlansAhead::~PlansAhead() {
  {
    const std::lock_guard lock(mutex_);
    next_ = jobs_.end();
  }
  for (std::thread& thread : threads_) thread.join();
}

void PlansAhead::begin(const std::string& name, Make make) {
  const std::lock_guard lock(mutex_);
  for (const Job& job : jobs_) {
    if (job.name == name) return;
  }
  jobs_.push_back({name, std::move(make), {}});
  if (next_ == jobs_.end()) --next_;
  if (running_ == most_) return;
  threads_.emplace_back([this] { work(); });
  ++running_;
}

void PlansAhead::work() {
  std::unique_ptr<Target> own;
  const OwnTarget target = [&]() -> const Target& {
    if (!own) own = makeTarget_();
    return *own;
  };
  std::unique_lock lock(mutex_);
  while (next_ != jobs_.end()) {
    Job& job = *next_++;
    lock.unlock();
    try {
      job.made = job.make(target);
    } catch (const std::exception&) {  // who takes it makes the plans and reports why that fails
    }
    progress::advance();
    lock.lock();
  }
  --running_;
  ended_.notify_all();
}

std::optional<MadePlans> PlansAhead::take(const std::string& name) {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return running_ == 0; });
  const auto job = std::find_if(jobs_.begin(), jobs_.end(),
                                [&](const Job& other) { return other.name == name; });
  return job == jobs_.end() ? std::nullopt : std::exchange(job->made, std::nullopt);
}

}  // namespace onehour::cuda
