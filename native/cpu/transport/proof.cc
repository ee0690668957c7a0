#include "proof.h"

#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace onehour::cpu {
namespace {

constexpr size_t kBlock = 64;  // bytes

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr std::array<uint32_t, 64> kRounds{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// The same of the square roots of the first eight.
constexpr std::array<uint32_t, 8> kStart{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

void mix(std::array<uint32_t, 8>& state, const unsigned char* block) {
  std::array<uint32_t, 64> w;
  for (size_t i = 0; i < 16; ++i) {
    w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 |
           uint32_t{block[4 * i + 2]} << 8 | block[4 * i + 3];
  }
  for (size_t i = 16; i < w.size(); ++i) {
    const uint32_t before = w[i - 15];
    const uint32_t last = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (std::rotr(before, 7) ^ std::rotr(before, 18) ^ (before >> 3)) +
           (std::rotr(last, 17) ^ std::rotr(last, 19) ^ (last >> 10));
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (size_t i = 0; i < w.size(); ++i) {
    const uint32_t first = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                           ((e & f) ^ (~e & g)) + kRounds[i] + w[i];
    const uint32_t second =
        (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + first;
    d = c;
    c = b;
    b = a;
    a = first + second;
  }
  const std::array<uint32_t, 8> change{a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < state.size(); ++i) state[i] += change[i];
}

std::string text(const Digest& digest) { return {digest.begin(), digest.end()}; }

}  // namespace

Digest sha256(const std::string& message) {
  std::string padded = message + '\x80';
  padded.append((kBlock - (padded.size() + 8) % kBlock) % kBlock, '\0');
  const uint64_t bits = uint64_t{message.size()} * 8;
  for (int shift = 56; shift >= 0; shift -= 8) padded += static_cast<char>(bits >> shift & 0xff);

  std::array<uint32_t, 8> state = kStart;
  for (size_t at = 0; at < padded.size(); at += kBlock)
    mix(state, reinterpret_cast<const unsigned char*>(padded.data()) + at);
  Digest result;
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = static_cast<uint8_t>(state[i / 4] >> (24 - 8 * (i % 4)));
  return result;
}

Digest hmac(const Digest& key, const std::string& message) {
  const auto padded = [&](char pad) {
    std::string result(kBlock, pad);
    for (size_t i = 0; i < key.size(); ++i) result[i] = static_cast<char>(key[i] ^ pad);
    return result;
  };
  return sha256(padded(0x5c) + text(sha256(padded(0x36) + message)));
}

Digest randomDigest() {
  Digest result;
  if (getrandom(result.data(), result.size(), 0) != static_cast<ssize_t>(result.size()))
    throw std::runtime_error("the system gives no random bytes");
  return result;
}

bool sameDigest(const Digest& left, const Digest& right) {
  uint8_t difference = 0;
  for (size_t i = 0; i < left.size(); ++i) difference |= left[i] ^ right[i];
  return difference == 0;
}

}  // namespace onehour::cpu
