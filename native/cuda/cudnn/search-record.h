// A record, for people, of what a search for the fastest way to compute a graph tried.
#pragma once

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

namespace onehour::cuda {

class SearchRecord {
 public:
  // `fused`: one plan computes all of what several kernels could. No milliseconds: it did not run.
  void add(const std::string& engine, bool fused, std::optional<float> milliseconds) {
    char time[32] = "null";
    if (milliseconds) std::snprintf(time, sizeof time, "%.6f", static_cast<double>(*milliseconds));
    if (!trials_.empty()) trials_ += ',';
    trials_ += "{\"engine\":\"" + engine + "\",\"fused\":" + (fused ? "true" : "false") +
               ",\"milliseconds\":" + time + "}";
  }

  // {"seconds":…,"trials":[…]}: the seconds since this object was made.
  std::string json() const {
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start_;
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.3f", taken.count());
    return "{\"seconds\":" + std::string(seconds) + ",\"trials\":[" + trials_ + "]}";
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::string trials_;
};

}  // namespace onehour::cuda
