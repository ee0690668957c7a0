// Values of a call: its arguments, checked, and results made of bytes.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../core/library-versions.h"

namespace onehour::addon {

constexpr int64_t kMaximumInteger = (int64_t{1} << 53) - 1;

// Arguments, or ERR_USAGE with `what` they are. A range includes both ends.
std::string stringArgument(const Napi::Value& value, const std::string& what);
double numberArgument(const Napi::Value& value, const std::string& what, double least, double most);
int64_t integerArgument(const Napi::Value& value, const std::string& what, int64_t least,
                        int64_t most);
// A copy of a Uint8Array.
std::vector<uint8_t> bytesArgument(const Napi::Value& value, const std::string& what);

Napi::Value toUint8Array(Napi::Env env, std::vector<uint8_t> bytes);
// A view of native memory, which it keeps alive.
Napi::Value toView(Napi::Env env, std::shared_ptr<void> memory, size_t bytes);

// Versions of libraries, by name: { built, loaded }, "" where a library does not say.
Napi::Object toObject(Napi::Env env, const LibraryVersions& versions);

}  // namespace onehour::addon
