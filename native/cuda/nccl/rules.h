// What is known of NCCL without calling it: addresses, versions, and what to try after a failure.
// Free of NCCL's and CUDA's headers, so that tests need neither.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace onehour::cuda {

using UniqueId = std::array<uint8_t, 128>;

// What a rank sends the others: that it speaks NCCL, which version, and the meeting place, which
// only rank 0's address holds (it is zero in the others').
std::vector<uint8_t> encodeAddress(int version, const UniqueId& id);

// The meeting place in the addresses of all ranks, in rank order. Throws ERR_COLLECTIVE when a rank
// is not on NCCL, has another version of it, or when there is no meeting place.
UniqueId meetingPlace(const std::vector<std::vector<uint8_t>>& addresses, int size);

// "2.30.7".
std::string versionText(int code);

// Why a library of version `loaded` cannot serve code that was built with the header of version
// `header`; nothing when it can.
std::optional<std::string> versionProblem(int header, int loaded);

// Whether a library of version `loaded` keeps the collectives of several communicators on one GPU
// in the order of their calls, given what NCCL_LAUNCH_ORDER_IMPLICIT is set to, if it is.
bool ordersCollectives(int loaded, const char* setting);

// Whether a library of version `loaded` can stop for good between machines where a recorded program
// mixes small collectives with large ones on registered memory (NVIDIA/nccl issue 2389).
bool registrationHangs(int loaded);

// What to say where memory is left unregistered for that, given what NCCL_GRAPH_REGISTER is set to.
std::string registrationRemark(int loaded, const char* setting);

// What to try after a failure, by NCCL's own words for it; begins with "; ", or is empty.
std::string_view hintFor(std::string_view message);

}  // namespace onehour::cuda
