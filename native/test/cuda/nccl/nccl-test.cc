// Tests of what the CUDA backend knows of NCCL, without NCCL and without a GPU: addresses,
// versions, hints, and the way of a message through the staging slots.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "../../../cuda/nccl/rules.h"
#include "../../../cuda/nccl/staging.h"
#include "../../check.h"

namespace onehour::test {
namespace {

using namespace onehour::cuda;
using Addresses = std::vector<std::vector<uint8_t>>;

UniqueId someId() {
  UniqueId id;
  for (size_t i = 0; i < id.size(); ++i) id[i] = static_cast<uint8_t>(i + 1);
  return id;
}

Addresses addressesOf(int ranks) {
  Addresses addresses{encodeAddress(23007, someId())};
  for (int rank = 1; rank < ranks; ++rank) addresses.push_back(encodeAddress(23007, UniqueId{}));
  return addresses;
}

void findsTheMeetingPlace() {
  for (const int ranks : {2, 3, 8}) CHECK(meetingPlace(addressesOf(ranks), ranks) == someId());
}

void refusesAddresses() {
  const auto refusal = [](const Addresses& addresses, int size) {
    const Error error = thrown([&] { meetingPlace(addresses, size); });
    CHECK(error.code == "ERR_COLLECTIVE" && error.library == "NCCL");
    return std::string(error.what());
  };
  CHECK(contains(refusal(addressesOf(2), 3), "addresses of 3 ranks, got 2"));
  Addresses addresses = addressesOf(4);
  addresses[2] = {1, 2, 3};
  CHECK(contains(refusal(addresses, 4), "rank 2 has no address of NCCL"));
  addresses = addressesOf(4);
  addresses[3].clear();
  CHECK(contains(refusal(addresses, 4), "rank 3 has no address of NCCL"));
  addresses = addressesOf(4);
  addresses[1][0] ^= 1;
  CHECK(contains(refusal(addresses, 4), "rank 1 has no address of NCCL"));
  addresses = addressesOf(4);
  addresses[3] = encodeAddress(22105, UniqueId{});
  CHECK(contains(refusal(addresses, 4), "rank 0 2.30.7, rank 3 2.21.5"));
  addresses = addressesOf(2);
  addresses[0] = encodeAddress(23007, UniqueId{});
  CHECK(contains(refusal(addresses, 2), "no meeting place"));
}

void comparesVersions() {
  CHECK(versionText(2804) == "2.8.4");
  CHECK(versionText(21005) == "2.10.5");
  CHECK(versionText(23007) == "2.30.7");
  CHECK(!versionProblem(23007, 23007));
  CHECK(!versionProblem(22005, 23007));  // NCCL reads the older layouts of its configuration
  CHECK(contains(versionProblem(23007, 22304).value_or(""), "built with 2.30.7"));
  CHECK(contains(versionProblem(21903, 21903).value_or(""), "expected 2.20.0 or later"));
  CHECK(contains(versionProblem(23007, 0).value_or(""), "expected 2.20.0 or later"));
}

void knowsWhoKeepsTheOrder() {
  CHECK(ordersCollectives(22600, "1") && ordersCollectives(23007, "1"));
  CHECK(!ordersCollectives(22505, "1") && !ordersCollectives(22005, "1"));
  CHECK(!ordersCollectives(23007, "0") && !ordersCollectives(23007, nullptr));
}

void knowsWhoHangs() {
  CHECK(registrationHangs(22809) && registrationHangs(23007) && registrationHangs(23102));
  CHECK(!registrationHangs(23103) && !registrationHangs(23200));
  for (const char* off : {"0", static_cast<const char*>(nullptr)}) {
    const std::string remark = registrationRemark(22809, off);
    CHECK(contains(remark, "NCCL 2.28.9 can stop") && contains(remark, "up to 2.31.2"));
    CHECK(!contains(remark, "NCCL_GRAPH_REGISTER"));
  }
  CHECK(contains(registrationRemark(22809, "1"), "NCCL_GRAPH_REGISTER=1 has NCCL register them"));
}

// NCCL's words, as ncclGetErrorString and ncclGetLastError have them.
void hints() {
  const auto hints = [](const char* message, const char* part) {
    CHECK(contains(std::string(hintFor(message)), part));
  };
  const char* system =
      "unhandled system error (run with NCCL_DEBUG=INFO for details) (Error while creating shared "
      "memory segment /dev/shm/nccl-x (size 9637888), error: No space left on device (28))";
  hints(system, "df -h /dev/shm");
  hints("unhandled system error (run with NCCL_DEBUG=INFO for details)", "NCCL_DEBUG=WARN");
  hints("unhandled system error (run with NCCL_DEBUG=INFO for details)", "/dev/shm");
  hints("unhandled cuda error (Failed to bind NVLink SHARP (NVLS) Multicast memory)",
        "NCCL_NVLS_ENABLE=0");
  hints("invalid usage (Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000)",
        "NCCL_HOSTID");
  hints("remote process exited or there was a network error", "another rank has ended");
  hints("unhandled cuda error (Cuda failure 2 'out of memory')", "--batch");
  CHECK(hintFor("no error").empty());
  CHECK(hintFor("").empty());
}

// A device that works on slots late: only when the host drains one.
void stagesMessages() {
  for (const size_t slotSize : {1, 2, 3, 7, 16}) {
    for (size_t units = 0; units < 40; ++units) {
      std::vector<int> message(units);
      for (size_t i = 0; i < units; ++i) message[i] = static_cast<int>(i);
      std::vector<std::vector<int>> slots(stagingSlots, std::vector<int>(slotSize));
      std::deque<Chunk> queued;
      size_t filled = 0;
      size_t drained = 0;
      size_t inFlight = 0;
      inChunks(
          units, slotSize,
          [&](const Chunk& chunk) {
            CHECK(chunk.first == filled && chunk.count >= 1 && chunk.count <= slotSize);
            filled += chunk.count;
            std::copy_n(message.begin() + static_cast<std::ptrdiff_t>(chunk.first), chunk.count,
                        slots[static_cast<size_t>(chunk.slot)].begin());
            queued.push_back(chunk);
            inFlight = std::max(inFlight, queued.size());
          },
          [&](const Chunk& chunk) {
            CHECK(!queued.empty() && queued.front().first == chunk.first);
            CHECK(chunk.first == drained && chunk.slot == queued.front().slot);
            queued.pop_front();
            drained += chunk.count;
            auto& slot = slots[static_cast<size_t>(chunk.slot)];
            for (size_t i = 0; i < chunk.count; ++i) message[chunk.first + i] = 2 * slot[i];
          });
      CHECK(filled == units && drained == units && queued.empty());
      CHECK(inFlight == std::min<size_t>(stagingSlots, (units + slotSize - 1) / slotSize));
      for (size_t i = 0; i < units; ++i) CHECK(message[i] == 2 * static_cast<int>(i));
    }
  }
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"the meeting place is rank 0's", findsTheMeetingPlace},
              {"addresses that do not fit are refused", refusesAddresses},
              {"versions are compared", comparesVersions},
              {"NCCL keeps the order where it can and may", knowsWhoKeepsTheOrder},
              {"an NCCL that can hang is known", knowsWhoHangs},
              {"failures come with hints", hints},
              {"messages go through two slots", stagesMessages}});
}
