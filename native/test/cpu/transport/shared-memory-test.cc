// Tests of collectives through shared memory, also where a rank ends, leaves or differs.
#include "../../../cpu/transport/shared-memory.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../check.h"
#include "../../concurrency.h"

namespace onehour::test {
namespace {

using namespace onehour::cpu;
using std::chrono::milliseconds;

constexpr milliseconds kNever{60 * 1000};  // longer than any test takes

// The ranks of one machine.
struct Ranks {
  explicit Ranks(int size) {
    for (int rank = 0; rank < size; ++rank) {
      all.push_back(std::make_unique<SharedMemory>(rank, size));
      introductions.push_back(all.back()->introduction());
    }
  }

  bool map() {
    bool mapped = true;
    for (const auto& rank : all) mapped = rank->map(introductions) && mapped;
    return mapped;
  }

  std::vector<std::unique_ptr<SharedMemory>> all;
  std::vector<SharedMemory::Introduction> introductions;
};

// Element i of a rank; every sum is exact.
template <typename T>
std::vector<T> values(int rank, size_t count) {
  std::vector<T> result(count);
  for (size_t i = 0; i < count; ++i) result[i] = static_cast<T>((i % 1021 + 1) * (rank + 1));
  return result;
}

template <typename T>
bool isSum(const std::vector<T>& sums, int size) {
  const T ranks = static_cast<T>(size * (size + 1) / 2);
  for (size_t i = 0; i < sums.size(); ++i) {
    if (sums[i] != static_cast<T>(i % 1021 + 1) * ranks) return false;
  }
  return true;
}

template <typename T>
void sums(int size) {
  Ranks ranks(size);
  CHECK(ranks.map());
  // Around the bounds of a cache line, a small round (4,096 elements) and a slot (65,536).
  const std::vector<size_t> counts{1,    15,     16,     17,      4095,    4096,    4097,
                                   5000, 65'535, 65'536, 131'073, 131'100, 400'007, 3};
  each(size, [&](int rank) {
    for (size_t count : counts) {
      std::vector<T> data = values<T>(rank, count);
      ranks.all[rank]->allReduce(data.data(), count, kNever);
      CHECK(isSum(data, size));
    }
  });
}

void addsUp() {
  for (int size : {2, 3, 5, 40}) {
    sums<float>(size);
    sums<int32_t>(size);
  }
}

// Bytes of every size pass between all ranks, one collective right after the other.
void movesBytes(int size) {
  Ranks ranks(size);
  CHECK(ranks.map());
  // Around the bounds of a cache line and a slot (262,144 bytes).
  const std::vector<size_t> counts{1, 63, 64, 65, 262'143, 262'144, 262'145, 1'000'003, 5};
  each(size, [&](int rank) {
    SharedMemory& memory = *ranks.all[rank];
    const auto byte = [](int of, size_t i) { return static_cast<uint8_t>(i * 31 + of * 7 + 1); };
    for (size_t count : counts) {
      for (int root = 0; root < size; root += size - 1) {
        std::vector<uint8_t> data(count);
        for (size_t i = 0; i < count; ++i) data[i] = byte(rank, i);
        memory.broadcast(data.data(), count, root, kNever);
        bool same = true;
        for (size_t i = 0; i < count; ++i) same = same && data[i] == byte(root, i);
        CHECK(same);
      }
      std::vector<uint8_t> own(count);
      for (size_t i = 0; i < count; ++i) own[i] = byte(rank, i);
      std::vector<uint8_t> all(size * count);
      memory.allGather(own.data(), all.data(), count, kNever);
      std::vector<uint8_t> inPlace(size * count);
      std::copy(own.begin(), own.end(), inPlace.begin() + rank * count);
      memory.allGather(inPlace.data() + rank * count, inPlace.data(), count, kNever);
      memory.barrier(kNever);
      bool same = true;
      for (int peer = 0; peer < size; ++peer) {
        for (size_t i = 0; i < count; ++i) same = same && all[peer * count + i] == byte(peer, i);
      }
      CHECK(same);
      CHECK(inPlace == all);
    }
  });
}

// Values whose sum depends on the order of addition.
void givesAllTheSameBits() {
  constexpr int size = 4;
  constexpr size_t count = 100'000;
  Ranks ranks(size);
  CHECK(ranks.map());
  std::vector<std::vector<float>> data(size, std::vector<float>(count));
  for (int rank = 0; rank < size; ++rank) {
    for (size_t i = 0; i < count; ++i) {
      data[rank][i] = 1.0f / static_cast<float>(1 + (i * 2'654'435'761u + rank * 40'503u) % 9973);
    }
  }
  std::vector<float> expected = data[0];
  for (int rank = 1; rank < size; ++rank) {
    for (size_t i = 0; i < count; ++i) expected[i] += data[rank][i];
  }
  each(size, [&](int rank) { ranks.all[rank]->allReduce(data[rank].data(), count, kNever); });
  for (int rank = 0; rank < size; ++rank) CHECK(data[rank] == expected);
}

void refusesOtherMachines() {
  Ranks elsewhere(2);
  elsewhere.introductions[1].machine[0] ^= 1;
  CHECK(!elsewhere.map());
  Ranks nowhere(2);
  for (auto& rank : nowhere.introductions) rank.machine = {};
  CHECK(!nowhere.map());
  Ranks foreign(2);  // a descriptor that holds something else
  foreign.introductions[0].descriptor = 0;
  CHECK(!foreign.all[1]->map(foreign.introductions));
  Ranks other(2);  // memory of the same size that was made for another group
  other.introductions[0].key ^= 2;
  CHECK(!other.all[1]->map(other.introductions));
}

void namesWhoDiffers() {
  Ranks ranks(2);
  CHECK(ranks.map());
  std::vector<std::string> told(2);
  each(2, [&](int rank) {
    std::vector<float> data(rank == 0 ? 10 : 20);
    told[rank] = complaint([&] { ranks.all[rank]->allReduce(data.data(), data.size(), kNever); });
  });
  CHECK(told[0] ==
        "rank 1 is in an all-reduce of 80 bytes, this rank in an all-reduce of 40 bytes");
  CHECK(told[1] ==
        "rank 0 is in an all-reduce of 40 bytes, this rank in an all-reduce of 80 bytes");
}

void namesWhoCallsSomethingElse() {
  using Body = std::function<void(SharedMemory&)>;
  std::vector<float> data(100'000);
  std::vector<float> all(2 * data.size());
  const size_t bytes = data.size() * sizeof(float);
  const std::vector<std::pair<Body, std::string>> calls{
      {[](SharedMemory& memory) { memory.barrier(kNever); }, "a barrier"},
      {[&](SharedMemory& memory) { memory.broadcast(data.data(), bytes, 0, kNever); },
       "a broadcast of 400000 bytes from rank 0"},
      {[&](SharedMemory& memory) { memory.broadcast(data.data(), bytes, 1, kNever); },
       "a broadcast of 400000 bytes from rank 1"},
      {[&](SharedMemory& memory) { memory.allGather(data.data(), all.data(), bytes, kNever); },
       "an all-gather of 400000 bytes"},
  };
  for (const auto& [body, words] : calls) {
    Ranks ranks(2);
    CHECK(ranks.map());
    each(2, [&, &body = body, &words = words](int rank) {
      std::vector<float> own(data.size());
      const std::string told = complaint([&] {
        if (rank == 0) return body(*ranks.all[0]);
        ranks.all[1]->allReduce(own.data(), own.size(), kNever);
      });
      const std::string sum = "an all-reduce of 400000 bytes";
      CHECK(told == (rank == 0 ? "rank 1 is in " + sum + ", this rank in " + words
                               : "rank 0 is in " + words + ", this rank in " + sum));
    });
  }
}

void givesUp() {
  Ranks ranks(2);
  CHECK(ranks.map());
  float value = 1;
  const auto wait = [&] { ranks.all[0]->allReduce(&value, 1, milliseconds(1000)); };
  CHECK(complaint(wait) == "rank 1 did not come within 1 s");
}

void endsAWait(const std::function<void(Ranks&)>& how, const std::string& expected) {
  Ranks ranks(2);
  CHECK(ranks.map());
  std::vector<float> data(100'000);
  std::future<std::string> waits = std::async(std::launch::async, [&] {
    return complaint([&] { ranks.all[0]->allReduce(data.data(), data.size(), kNever); });
  });
  CHECK(waits.wait_for(milliseconds(50)) == std::future_status::timeout);
  how(ranks);
  CHECK(waits.get() == expected);
}

void aborts() {
  endsAWait([](Ranks& ranks) { ranks.all[0]->leave(); }, "aborted by this process");
  endsAWait([](Ranks& ranks) { ranks.all[1]->leave(); }, "rank 1 has left");
  endsAWait([](Ranks& ranks) { ranks.all[1].reset(); }, "rank 1 has left");
}

// A rank that has left after its last sum has left nobody waiting.
void leavesInPeace() {
  Ranks ranks(2);
  CHECK(ranks.map());
  each(2, [&](int rank) {
    std::vector<float> data = values<float>(rank, 300'000);
    ranks.all[rank]->allReduce(data.data(), data.size(), kNever);
    ranks.all[rank].reset();
    CHECK(isSum(data, 2));
  });
}

// Two processes; the second one is killed after a sum.
void noticesAProcessEnd() {
  SharedMemory own(0, 2);
  std::vector<SharedMemory::Introduction> ranks{own.introduction(), {}};
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  const pid_t child = fork();
  if (child == 0) {
    SharedMemory theirs(1, 2);
    ranks[1] = theirs.introduction();
    if (write(pipes[1], &ranks[1], sizeof(ranks[1])) < 0 || !theirs.map(ranks)) _exit(1);
    std::vector<float> data = values<float>(1, 50'000);
    theirs.allReduce(data.data(), data.size(), kNever);
    for (;;) pause();
  }
  CHECK(read(pipes[0], &ranks[1], sizeof(ranks[1])) == sizeof(ranks[1]));
  CHECK(own.map(ranks));
  std::vector<float> data = values<float>(0, 50'000);
  own.allReduce(data.data(), data.size(), kNever);
  CHECK(isSum(data, 2));
  kill(child, SIGKILL);  // and not yet waited for: a process that nobody reaps has ended too
  CHECK(complaint([&] { own.allReduce(data.data(), data.size(), kNever); }) ==
        "the process of rank 1 has ended");
  waitpid(child, nullptr, 0);
  close(pipes[0]);
  close(pipes[1]);
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({
      {"a killed process is not merely slow", noticesAProcessEnd},  // forks: before any thread
      {"arrays of all sizes add up", addsUp},
      {"bytes of all sizes arrive",
       [] {
         for (int size : {2, 3, 5}) movesBytes(size);
       }},
      {"all ranks get the same bits, in rank order", givesAllTheSameBits},
      {"other machines and other memory are refused", refusesOtherMachines},
      {"ranks that sum other sizes are named", namesWhoDiffers},
      {"ranks that call something else are named", namesWhoCallsSomethingElse},
      {"a rank that does not come is given up", givesUp},
      {"abort and departure end a wait", aborts},
      {"a rank may leave after its last sum", leavesInPeace},
  });
}
