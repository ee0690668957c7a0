// Tests of arrays in a device's memory without Node: operations of several threads take turns.
#include "../../core/array.h"

#include <array>
#include <atomic>
#include <exception>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "../../core/worker.h"
#include "../check.h"
#include "../fakes/fake-backend.h"

namespace onehour::test {
namespace {

// Copies of an array on the device's thread, and sums on another one, as a communicator has.
void takesTurnsOnArrays() {
  const auto copies = std::make_shared<ArrayCopies>(createFakeBackend(false));
  const auto array = std::make_shared<DeviceArray>(DataType::i32, 3);
  Worker other("other");
  constexpr int rounds = 200;
  std::vector<std::array<int32_t, 3>> given(rounds);
  std::vector<std::array<int32_t, 3>> taken(rounds);
  std::atomic<int> failed{0};
  std::promise<void> last;
  for (int round = 0; round < rounds; ++round) {
    const auto index = static_cast<size_t>(round);
    given[index] = {round, 1, 2};
    copies->write(array, given[index].data(),
                  [&](std::exception_ptr error) { failed += error != nullptr; });
    other.post([array, ticket = array->ticket()] {
      try {
        array->inTurn(ticket, [&] {
          for (int i = 0; i < 3; ++i) static_cast<int32_t*>(array->data())[i] *= 10;
          throw Error("ERR_COLLECTIVE", "fake", "the turn ends all the same");
        });
      } catch (const Error&) {
      }
    });
    copies->read(array, taken[index].data(), [&, round](std::exception_ptr error) {
      failed += error != nullptr;
      if (round == rounds - 1) last.set_value();
    });
  }
  last.get_future().wait();
  CHECK(failed == 0);
  for (int round = 0; round < rounds; ++round) {
    CHECK((taken[static_cast<size_t>(round)] == std::array<int32_t, 3>{10 * round, 10, 20}));
  }
  copies->worker()->stop();
  copies->worker()->join(Worker::Clock::time_point::max());
  std::promise<std::exception_ptr> late;
  copies->read(array, taken[0].data(),
               [&](std::exception_ptr error) { late.set_value(std::move(error)); });
  const Error error = thrown([&] { std::rethrow_exception(late.get_future().get()); });
  CHECK(error.code == "ERR_DISPOSED");
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"arrays take turns", takesTurnsOnArrays}});
}
