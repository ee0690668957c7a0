// Limits the time that a load spends searching for optional kernels: per search, in all, and none
// for a pattern that failed twice. For any number of threads.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace onehour::cuda {

// Of a clock that never goes back.
double steadySeconds();

class SearchBudget {
 public:
  // Returns seconds since any fixed moment.
  using Clock = std::function<double()>;

  static constexpr double secondsASearch = 5;
  static constexpr double secondsInAll = 60;
  static constexpr size_t failuresAPattern = 2;  // then it is not tried again

  explicit SearchBudget(Clock clock = steadySeconds) : clock_(std::move(clock)) {}

  const Clock& clock() const { return clock_; }

  // Seconds that a search for a form of this pattern may take; 0 where none should begin.
  double allowance(const std::string& pattern) const;

  // A search, for as long as this lives. Time in which several go on counts once.
  class Search {
   public:
    explicit Search(SearchBudget& budget) : budget_(budget) { budget_.begin(); }
    ~Search() { budget_.end(); }
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;

   private:
    SearchBudget& budget_;
  };

  // Notes that no form of this pattern works for a graph.
  void noteFailure(const std::string& pattern, const std::string& graph);

 private:
  void begin();
  void end();
  double spent() const;

  Clock clock_;
  mutable std::mutex mutex_;  // guards what follows here
  double spent_ = 0;
  int searches_ = 0;  // that go on
  double since_ = 0;  // when the first of them began
  std::map<std::string, std::set<std::string>> failures_;
};

}  // namespace onehour::cuda
