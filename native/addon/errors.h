// Native errors as JavaScript sees them: with a code, the library and the program line.
#pragma once

#include <napi.h>

#include <exception>
#include <string>

#include "../core/error.h"

namespace onehour::addon {

Napi::Error toJavaScript(Napi::Env env, const Error& error);
Napi::Error toJavaScript(Napi::Env env, const std::exception_ptr& thrown);

// Throws ERR_USAGE.
[[noreturn]] void refuse(const std::string& message);

// Runs a method's body; what it throws natively becomes a JavaScript error with its code.
template <typename Body>
auto guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw toJavaScript(env, std::current_exception());
  }
}

}  // namespace onehour::addon
