#include "values.h"

#include <cstring>
#include <utility>

#include "errors.h"

namespace onehour::addon {

std::string stringArgument(const Napi::Value& value, const std::string& what) {
  if (!value.IsString()) refuse(what + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

double numberArgument(const Napi::Value& value, const std::string& what, double least,
                      double most) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : least - 1;
  if (!(number >= least && number <= most)) {
    refuse(what + " must be a number from " + std::to_string(static_cast<int64_t>(least)) + " to " +
           std::to_string(static_cast<int64_t>(most)));
  }
  return number;
}

int64_t integerArgument(const Napi::Value& value, const std::string& what, int64_t least,
                        int64_t most) {
  const double number =
      numberArgument(value, what, static_cast<double>(least), static_cast<double>(most));
  if (number != static_cast<double>(static_cast<int64_t>(number))) {
    refuse(what + " must be an integer");
  }
  return static_cast<int64_t>(number);
}

std::vector<uint8_t> bytesArgument(const Napi::Value& value, const std::string& what) {
  if (!value.IsTypedArray()) refuse(what + " must be a Uint8Array");
  const auto array = value.As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint8_array) refuse(what + " must be a Uint8Array");
  if (!array.Get("buffer").IsArrayBuffer()) refuse(what + " must not lie in shared memory");
  const auto bytes = array.As<Napi::Uint8Array>();
  return {bytes.Data(), bytes.Data() + bytes.ByteLength()};
}

Napi::Value toUint8Array(Napi::Env env, std::vector<uint8_t> bytes) {
  auto array = Napi::Uint8Array::New(env, bytes.size());
  if (!bytes.empty()) std::memcpy(array.Data(), bytes.data(), bytes.size());
  return array;
}

Napi::Value toView(Napi::Env env, std::shared_ptr<void> memory, size_t bytes) {
  auto* held = new std::shared_ptr<void>(std::move(memory));
  const auto buffer = Napi::ArrayBuffer::New(
      env, held->get(), bytes,
      [](Napi::Env, void*, std::shared_ptr<void>* reference) { delete reference; }, held);
  return Napi::Uint8Array::New(env, bytes, buffer, 0);
}

Napi::Object toObject(Napi::Env env, const LibraryVersions& versions) {
  auto result = Napi::Object::New(env);
  for (const auto& [name, built, loaded] : versions) {
    auto version = Napi::Object::New(env);
    version.Set("built", built);
    version.Set("loaded", loaded);
    result.Set(name, version);
  }
  return result;
}

}  // namespace onehour::addon
