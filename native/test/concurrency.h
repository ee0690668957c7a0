// What tests of ranks and of asynchronous calls need: a body on every rank at once, the result of a
// call that comes by a callback, and the words of what a body throws.
#pragma once

#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace onehour::test {

// Runs `body` for all ranks at once, as their processes would; the first exception is thrown.
inline void each(int size, const std::function<void(int rank)>& body) {
  std::vector<std::future<void>> ends;
  for (int rank = 0; rank < size; ++rank)
    ends.push_back(std::async(std::launch::async, body, rank));
  for (auto& end : ends) end.get();
}

// Calls `begin` with a callback for an error and a value; the future has the one or the other.
template <typename Result, typename Begin>
std::future<Result> start(Begin begin) {
  const auto promise = std::make_shared<std::promise<Result>>();
  begin([promise](std::exception_ptr error, Result value) {
    if (error) {
      promise->set_exception(error);
    } else {
      promise->set_value(std::move(value));
    }
  });
  return promise->get_future();
}

// Calls `begin` with a callback for an error.
template <typename Begin>
std::future<bool> start(Begin begin) {
  return start<bool>([&begin](auto done) {
    begin([done](std::exception_ptr error) { done(std::move(error), true); });
  });
}

// The message of what `body` throws.
inline std::string complaint(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing";
}

}  // namespace onehour::test
