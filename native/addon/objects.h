// The classes of the module. Each wraps one native object; a device makes the others.
#pragma once

#include <napi.h>

#include <memory>

#include "../core/array.h"
#include "../core/backend.h"

namespace onehour::addon {

Napi::Function defineDevice(Napi::Env env);
Napi::Function defineExecutor(Napi::Env env);
Napi::Function defineCommunicator(Napi::Env env);
Napi::Function defineArray(Napi::Env env);

// What a JavaScript object of the class Communicator wraps.
const std::shared_ptr<Communicator>& nativeCommunicator(const Napi::Object& object);

// What a JavaScript object of the class DeviceArray wraps; throws ERR_DISPOSED.
const std::shared_ptr<DeviceArray>& nativeArray(const Napi::Object& object);

// A promise of a new array on the device, with a copy of a typed array.
Napi::Value createArray(Napi::Env env, const std::shared_ptr<ArrayCopies>& copies,
                        const Napi::Value& data);

}  // namespace onehour::addon
