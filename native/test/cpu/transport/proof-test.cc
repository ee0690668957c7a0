// Tests of SHA-256 and HMAC against the standards' examples, and of their lengths' bounds.
#include "../../../cpu/transport/proof.h"

#include <string>

#include "../../check.h"

namespace onehour::test {
namespace {

using namespace onehour::cpu;

std::string hex(const Digest& digest) {
  std::string result;
  for (const uint8_t byte : digest) {
    result += "0123456789abcdef"[byte >> 4];
    result += "0123456789abcdef"[byte & 15];
  }
  return result;
}

// FIPS 180-4's examples; 55, 56 and 64 bytes are where the padding takes another block.
void hashes() {
  CHECK(hex(sha256("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hex(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(hex(sha256(std::string(1'000'000, 'a'))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK(hex(sha256(std::string(55, 'x'))) ==
        "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
  CHECK(hex(sha256(std::string(56, 'x'))) ==
        "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e");
  CHECK(hex(sha256(std::string(63, 'x'))) ==
        "75220b47218278e656f2013bb8f0c455a25eaf01e86c64924e9d48d89776d6f2");
  CHECK(hex(sha256(std::string(64, 'x'))) ==
        "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
  CHECK(hex(sha256(std::string(65, 'x'))) ==
        "9537c5fdf120482f7d58d25e9ed583f52c02b4e304ea814db1633ad565aed7e9");
}

void proves() {
  Digest key;
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(i);
  CHECK(hex(hmac(key, "")) == "d38b42096d80f45f826b44a9d5607de72496a415d3f4a1a8c88e3bb9da8dc1cb");
  CHECK(hex(hmac(key, "what do ya want for nothing?")) ==
        "099805f4ac310786968565c098db515cc50862b420ae31e20238312344bed36a");
  CHECK(hex(hmac(key, std::string(200, 'y'))) ==
        "8f67d3e5888259cbcdbfa901a4bf158ea207b9ad98eadc31c0da4e6ca3081e94");
}

void compares() {
  const Digest one = sha256("one");
  Digest other = one;
  CHECK(sameDigest(one, other));
  other[31] ^= 1;
  CHECK(!sameDigest(one, other));
  CHECK(randomDigest() != randomDigest());
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"SHA-256 of the standard's examples", hashes},
              {"HMAC as Python's", proves},
              {"digests are compared whole", compares}});
}
