// Limits the time that a load spends searching for optional kernels: per search, in all, and none
// for a pattern that failed twice.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>

namespace onehour {

// Of a clock that never goes back.
double steadySeconds();

class SearchBudget {
 public:
  // Returns seconds since any fixed moment.
  using Clock = std::function<double()>;

  static constexpr double secondsASearch = 5;
  static constexpr double secondsInAll = 60;
  static constexpr int failuresAPattern = 2;  // then it is not tried again

  explicit SearchBudget(Clock clock = steadySeconds) : clock_(std::move(clock)) {}

  const Clock& clock() const { return clock_; }

  // Seconds that a search for a form of this pattern may take; 0 where none should begin.
  double allowance(const std::string& pattern) const;

  // Notes a search that took so long, and whether it found a form that works.
  void note(const std::string& pattern, double seconds, bool found);

 private:
  Clock clock_;
  double spent_ = 0;
  std::map<std::string, int> failures_;
};

}  // namespace onehour
