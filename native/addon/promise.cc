#include "promise.h"

#include <exception>
#include <utility>

#include "environment.h"

namespace onehour::addon {

Pending::Pending(Napi::Env env, std::function<Napi::Value(Napi::Env)> result)
    : deferred(env), mailbox(environmentOf(env).mailbox), result(std::move(result)) {
  mailbox->expect(env);
}

Executor::Done Pending::done() const {
  return [deferred = deferred, mailbox = mailbox, result = result](std::exception_ptr error) {
    mailbox->post([deferred, result, error](Napi::Env env) {
      // `result` runs after an error too: it releases what the operation held.
      std::exception_ptr failure = error;
      Napi::Value value = env.Undefined();
      try {
        value = result(env);
      } catch (...) {
        if (!failure) failure = std::current_exception();
      }
      if (failure) {
        deferred.Reject(toJavaScript(env, failure).Value());
      } else {
        deferred.Resolve(value);
      }
    });
  };
}

Napi::Value undefinedResult(Napi::Env env) { return env.Undefined(); }

Napi::Value rejected(Napi::Env env, const Error& error) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(toJavaScript(env, error).Value());
  return deferred.Promise();
}

}  // namespace onehour::addon
