// The classes of the module. Each wraps one native object; a device makes the other two.
#pragma once

#include <napi.h>

#include <memory>

#include "../core/backend.h"

namespace onehour::addon {

Napi::Function defineDevice(Napi::Env env);
Napi::Function defineExecutor(Napi::Env env);
Napi::Function defineCommunicator(Napi::Env env);

// What a JavaScript object of the class Communicator wraps.
const std::shared_ptr<Communicator>& nativeCommunicator(const Napi::Object& object);

}  // namespace onehour::addon
