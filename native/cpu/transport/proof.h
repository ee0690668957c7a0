// Proofs that a peer knows a secret, without sending it: HMAC-SHA256 (RFC 2104, FIPS 180-4).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace onehour::cpu {

using Digest = std::array<uint8_t, 32>;

Digest sha256(const std::string& message);
Digest hmac(const Digest& key, const std::string& message);

// From the system; throws std::runtime_error where it has none.
Digest randomDigest();

// Takes the same time wherever they differ.
bool sameDigest(const Digest& left, const Digest& right);

}  // namespace onehour::cpu
