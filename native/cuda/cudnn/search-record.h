// A record, for people, of what a search for the fastest way to compute a graph tried.
#pragma once

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

namespace onehour::cuda {

class SearchRecord {
 public:
  // `fused`: one plan computes all of what several kernels could. `repeats`: its bits do, without
  // which it is only compared. No milliseconds: it did not run.
  void add(const std::string& engine, bool fused, bool repeats, std::optional<float> milliseconds) {
    char time[32] = "null";
    if (milliseconds) std::snprintf(time, sizeof time, "%.6f", static_cast<double>(*milliseconds));
    if (!trials_.empty()) trials_ += ',';
    const auto word = [](bool value) { return value ? "true" : "false"; };
    trials_ += "{\"engine\":\"" + engine + "\",\"fused\":" + word(fused) +
               ",\"repeats\":" + word(repeats) + ",\"milliseconds\":" + time + "}";
  }

  // Adds what making the plans took before this object was made.
  void addSeconds(double seconds) { before_ += seconds; }

  // {"seconds":…,"trials":[…]}: the seconds since this object was made, and those added.
  std::string json() const {
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start_;
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.3f", before_ + taken.count());
    return "{\"seconds\":" + std::string(seconds) + ",\"trials\":[" + trials_ + "]}";
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double before_ = 0;
  std::string trials_;
};

}  // namespace onehour::cuda
