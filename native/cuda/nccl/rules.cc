#include "rules.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../../core/error.h"
#include "../../core/words.h"

namespace onehour::cuda {
namespace {

constexpr std::array<uint8_t, 4> kMark{'n', 'c', 'c', 'l'};
constexpr size_t kVersionBytes = 4;
constexpr size_t kAddressBytes = kMark.size() + kVersionBytes + std::tuple_size_v<UniqueId>;

// ncclMemAlloc, ncclCommRegister and non-blocking communicators that can be aborted reliably.
constexpr int kOldest = 22000;
// NCCL_LAUNCH_ORDER_IMPLICIT.
constexpr int kOrders = 22600;
// The last one whose collectives on registered memory can hang next to small ones.
constexpr int kLastToHang = 23102;

[[noreturn]] void refuse(const std::string& message) {
  throw Error("ERR_COLLECTIVE", "NCCL", message);
}

std::string rankText(size_t rank) { return "rank " + std::to_string(rank); }

bool speaksNccl(const std::vector<uint8_t>& address) {
  return address.size() == kAddressBytes && std::equal(kMark.begin(), kMark.end(), address.begin());
}

int versionOf(const std::vector<uint8_t>& address) {
  int32_t version = 0;
  std::memcpy(&version, address.data() + kMark.size(), kVersionBytes);
  return version;
}

UniqueId idOf(const std::vector<uint8_t>& address) {
  UniqueId id;
  std::copy(address.end() - static_cast<std::ptrdiff_t>(id.size()), address.end(), id.begin());
  return id;
}

struct Hint {
  std::string_view sign;  // in lower case
  std::string_view advice;
};

// The first that fits: a message about one cause often ends in the words of a general one.
constexpr Hint kHints[] = {
    {"duplicate gpu",
     "; start at most one worker a GPU. Tests that need several ranks on one GPU give every "
     "process an NCCL_HOSTID of its own, with NCCL_SOCKET_IFNAME=lo, NCCL_IB_DISABLE=1 and "
     "NCCL_NVLS_ENABLE=0"},
    {"nvls",
     "; try NCCL_NVLS_ENABLE=0: the switch has no multicast resources left, or a process "
     "of this run cannot use them"},
    {"multicast",
     "; try NCCL_NVLS_ENABLE=0: the switch has no multicast resources left, or a "
     "process of this run cannot use them"},
    {"/dev/shm",
     "; /dev/shm is too small or full: see df -h /dev/shm, and give a container more "
     "(docker run --shm-size=1g or --ipc=host)"},
    {"shared memory",
     "; /dev/shm is too small or full: see df -h /dev/shm, and give a container "
     "more (docker run --shm-size=1g or --ipc=host)"},
    {"out of memory",
     "; try a smaller --batch: NCCL needs memory of the GPU on top of the program's"},
    {"remote process exited", "; another rank has ended: look for the first error of the others"},
    {"unhandled system error",
     "; the usual causes are a /dev/shm that is too small (df -h /dev/shm; docker run "
     "--shm-size=1g) and an interface that does not reach the other ranks (NCCL_SOCKET_IFNAME); "
     "NCCL_DEBUG=WARN names the failing call"},
    {"network error", "; see that NCCL_SOCKET_IFNAME names an interface that reaches all ranks"},
    {"invalid usage", "; NCCL_DEBUG=WARN says more"},
    {"unhandled cuda error", "; NCCL_DEBUG=WARN names the failing call"},
    {"internal error", "; NCCL_DEBUG=WARN says more"},
};

}  // namespace

std::vector<uint8_t> encodeAddress(int version, const UniqueId& id) {
  std::vector<uint8_t> address(kAddressBytes);
  const auto code = static_cast<int32_t>(version);
  std::memcpy(address.data(), kMark.data(), kMark.size());
  std::memcpy(address.data() + kMark.size(), &code, kVersionBytes);
  std::memcpy(address.data() + kMark.size() + kVersionBytes, id.data(), id.size());
  return address;
}

UniqueId meetingPlace(const std::vector<std::vector<uint8_t>>& addresses, int size) {
  if (addresses.size() != static_cast<size_t>(size)) {
    refuse("expected the addresses of " + counted(size, "rank") + ", got " +
           std::to_string(addresses.size()));
  }
  for (size_t rank = 0; rank < addresses.size(); ++rank) {
    if (!speaksNccl(addresses[rank])) {
      refuse(rankText(rank) +
             " has no address of NCCL: all ranks must run on GPUs and with the same build (is one "
             "started with --device cpu?)");
    }
    if (versionOf(addresses[rank]) != versionOf(addresses[0])) {
      refuse("the ranks have different versions of NCCL: rank 0 " +
             versionText(versionOf(addresses[0])) + ", " + rankText(rank) + " " +
             versionText(versionOf(addresses[rank])) + "; install the same one on all machines");
    }
  }
  const UniqueId id = idOf(addresses[0]);
  if (id == UniqueId{}) refuse("rank 0 named no meeting place");
  return id;
}

// NCCL counts major·1000 + minor·100 + patch up to 2.8, and major·10000 + minor·100 + patch since.
std::string versionText(int code) {
  const int unit = code < 10000 ? 1000 : 10000;
  return std::to_string(code / unit) + "." + std::to_string(code % unit / 100) + "." +
         std::to_string(code % 100);
}

std::optional<std::string> versionProblem(int header, int loaded) {
  if (loaded < kOldest) {
    return "NCCL " + versionText(loaded) + " is loaded, expected " + versionText(kOldest) +
           " or later: install a newer libnccl2, or see that LD_LIBRARY_PATH finds it first";
  }
  if (loaded < header) {
    return "NCCL " + versionText(loaded) + " is loaded, but this module was built with " +
           versionText(header) +
           ": see which libnccl.so.2 LD_LIBRARY_PATH finds, or build again with the older one (" +
           buildCommand() + ")";
  }
  return std::nullopt;
}

bool ordersCollectives(int loaded, const char* setting) {
  return loaded >= kOrders && setting != nullptr && std::strtol(setting, nullptr, 0) != 0;
}

bool registrationHangs(int loaded) { return loaded <= kLastToHang; }

std::string registrationRemark(int loaded, const char* setting) {
  const bool graphs = setting != nullptr && std::strtol(setting, nullptr, 0) != 0;
  return "NCCL " + versionText(loaded) +
         " can stop for good where recorded programs mix small and large collectives between "
         "machines (its issue 2389, in versions up to " +
         versionText(kLastToHang) + "), so gradients are copied instead of registered" +
         (graphs ? ", except that NCCL_GRAPH_REGISTER=" + std::string(setting) +
                       " has NCCL register them in CUDA graphs"
                 : "") +
         "; a later NCCL needs no copies";
}

std::string_view hintFor(std::string_view message) {
  std::string lower(message);
  for (char& letter : lower) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  for (const Hint& hint : kHints) {
    if (lower.find(hint.sign) != std::string::npos) return hint.advice;
  }
  return {};
}

}  // namespace onehour::cuda
