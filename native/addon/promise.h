// Promises that native threads settle.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "../core/error.h"
#include "../core/executor.h"
#include "errors.h"
#include "mailbox.h"

namespace onehour::addon {

// A promise and the native callback that settles it; `result` makes the value on the JavaScript
// thread, and may throw an Error to reject.
struct Pending {
  Pending(Napi::Env env, std::function<Napi::Value(Napi::Env)> result);
  Executor::Done done() const;

  Napi::Promise::Deferred deferred;
  std::shared_ptr<Mailbox> mailbox;
  std::function<Napi::Value(Napi::Env)> result;
};

Napi::Value undefinedResult(Napi::Env env);
Napi::Value rejected(Napi::Env env, const Error& error);

// Runs an asynchronous method's body; a native exception becomes a rejection.
template <typename Body>
Napi::Value promised(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    return rejected(env, toError(std::current_exception()));
  }
}

}  // namespace onehour::addon
