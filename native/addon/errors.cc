#include "errors.h"

namespace onehour::addon {

Napi::Error toJavaScript(Napi::Env env, const Error& error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  Napi::Object value = result.Value();
  value.Set("code", error.code);
  value.Set("library", error.library);
  if (error.line > 0) {
    value.Set("line", error.line);
    value.Set("text", error.text);
  }
  return result;
}

Napi::Error toJavaScript(Napi::Env env, const std::exception_ptr& thrown) {
  return toJavaScript(env, toError(thrown));
}

void refuse(const std::string& message) { throw Error("ERR_USAGE", "onehour", message); }

}  // namespace onehour::addon
