#include "search-budget.h"

#include <chrono>

namespace onehour::cuda {

double steadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double SearchBudget::spent() const { return spent_ + (searches_ > 0 ? clock_() - since_ : 0); }

double SearchBudget::allowance(const std::string& pattern) const {
  const std::lock_guard lock(mutex_);
  const auto failed = failures_.find(pattern);
  if (failed != failures_.end() && failed->second.size() >= failuresAPattern) return 0;
  return spent() + secondsASearch <= secondsInAll ? secondsASearch : 0;
}

void SearchBudget::begin() {
  const std::lock_guard lock(mutex_);
  if (searches_++ == 0) since_ = clock_();
}

void SearchBudget::end() {
  const std::lock_guard lock(mutex_);
  if (searches_ == 1) spent_ = spent();
  --searches_;
}

void SearchBudget::noteFailure(const std::string& pattern, const std::string& graph) {
  const std::lock_guard lock(mutex_);
  failures_[pattern].insert(graph);
}

}  // namespace onehour::cuda
