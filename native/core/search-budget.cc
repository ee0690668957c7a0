#include "search-budget.h"

#include <chrono>

namespace onehour {

double steadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double SearchBudget::allowance(const std::string& pattern) const {
  const auto failed = failures_.find(pattern);
  if (failed != failures_.end() && failed->second >= failuresAPattern) return 0;
  return spent_ + secondsASearch <= secondsInAll ? secondsASearch : 0;
}

void SearchBudget::note(const std::string& pattern, double seconds, bool found) {
  spent_ += seconds;
  if (!found) ++failures_[pattern];
}

}  // namespace onehour
