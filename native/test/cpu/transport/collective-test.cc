// Tests of the CPU's communicator: what the ranks announce, which transport they choose, and what
// happens when one gives up.
#include <dirent.h>
#include <sys/socket.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "../../../cpu/transport/communicator.h"
#include "../../check.h"
#include "../../concurrency.h"

namespace onehour::test {
namespace {

using namespace onehour::cpu;

struct Ranks {
  Ranks(int size, double timeoutSeconds) {
    for (int rank = 0; rank < size; ++rank)
      all.push_back(createHostCommunicator(rank, size, timeoutSeconds));
  }

  int size() const { return static_cast<int>(all.size()); }

  // One exchange of what the ranks have to tell; true when all are connected.
  bool exchange() {
    std::vector<std::vector<uint8_t>> addresses;
    for (const auto& rank : all) addresses.push_back(rank->address());
    std::vector<char> connected(all.size());
    each(size(), [&](int rank) { connected[rank] = all[rank]->connect(addresses); });
    bool result = true;
    for (const char one : connected) result = result && one != 0;
    return result;
  }

  void connect() {
    while (!exchange()) {
    }
  }

  std::vector<std::unique_ptr<Communicator>> all;
};

// The sockets of this process that wait for connections.
int listeners() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (const dirent* entry = readdir(folder)) {
    int listens = 0;
    socklen_t length = sizeof(listens);
    const int descriptor = std::atoi(entry->d_name);
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0) count += listens;
  }
  closedir(folder);
  return count;
}

void setMemory(bool shared) {
  if (shared) {
    unsetenv("ONEHOUR_SHM_DISABLE");
  } else {
    setenv("ONEHOUR_SHM_DISABLE", "1", 1);
  }
}

// On one machine nothing listens, at no moment.
void opensNothing() {
  const int before = listeners();
  Ranks ranks(2, 60);
  CHECK(listeners() == before);
  while (!ranks.exchange()) CHECK(listeners() == before);
  CHECK(listeners() == before);
}

// A rank that gave up a collective ends the others' next one, whatever that is.
void endsAllThatFollows() {
  const double hour = 3600;
  Ranks ranks(0, hour);
  ranks.all.push_back(createHostCommunicator(0, 2, 1));
  ranks.all.push_back(createHostCommunicator(1, 2, hour));
  ranks.connect();
  float value = 1;
  CHECK(thrown([&] { ranks.all[0]->allReduce(&value, 1, DataType::f32); }).code ==
        "ERR_COLLECTIVE");
  CHECK(thrown([&] { ranks.all[1]->barrier(); }).code == "ERR_COLLECTIVE");
}

void refusesOtherBuilds() {
  Ranks ranks(2, 60);
  const Error error = thrown([&] { ranks.all[0]->connect({ranks.all[0]->address(), {1, 2, 3}}); });
  CHECK(contains(error.what(), "the address of rank 1 has 3 bytes"));
  CHECK(contains(error.what(), "do all ranks run the same build?"));
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  setMemory(true);
  const int memory = run({
      {"ranks of one machine open nothing", opensNothing},
      {"a rank that gave up ends what follows", endsAllThatFollows},
      {"ranks of another build are refused", refusesOtherBuilds},
  });
  setMemory(false);
  const int sockets = run({
      {"a rank that gave up ends what follows there", endsAllThatFollows},
  });
  return memory != 0 ? memory : sockets;
}
