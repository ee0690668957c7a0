// The module that Node loads: its classes, the functions of the process, and the environment's end.
#include <napi.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "../core/affinity.h"
#include "../core/backend.h"
#include "../core/file-lock.h"
#include "../core/heartbeat.h"
#include "../core/liveness.h"
#include "../core/program.h"
#include "../core/progress.h"
#include "environment.h"
#include "errors.h"
#include "objects.h"
#include "values.h"

namespace onehour::addon {
namespace {

Napi::Value parse(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Program program = parseProgram(stringArgument(info[0], "the program's text"));
    auto arenas = Napi::Object::New(info.Env());
    for (const Arena& arena : program.arenas) {
      arenas.Set(arena.name, static_cast<double>(arena.bytes));
    }
    auto result = Napi::Object::New(info.Env());
    result.Set("name", program.name);
    result.Set("arenas", arenas);
    result.Set("instructions", static_cast<double>(program.instructions.size()));
    return result;
  });
}

// The devices that the module could open.
Napi::Value devices(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto result = Napi::Array::New(info.Env());
    for (const DeviceListing& listing : listDevices()) {
      auto device = Napi::Object::New(info.Env());
      device.Set("ordinal", listing.ordinal);
      device.Set("name", listing.name);
      device.Set("kind", listing.kind);
      device.Set("capability", listing.capability);
      device.Set("memoryBytes", static_cast<double>(listing.memoryBytes));
      device.Set("bus", listing.bus);
      device.Set("problem", listing.problem);
      result.Set(result.Length(), device);
    }
    return result;
  });
}

Napi::Value versions(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return toObject(info.Env(), libraryVersions()); });
}

// The signature of each operation that the module has a kernel for, by name.
Napi::Value operations(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto result = Napi::Object::New(info.Env());
    for (const auto& [name, entry] : kernelTable()) {
      result.Set(std::string(name), std::string(entry.signature));
    }
    return result;
  });
}

// The kernels that an instruction of each operation starts on the device, at most, by name.
Napi::Value launches(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto result = Napi::Object::New(info.Env());
    for (const auto& [name, entry] : kernelTable()) result.Set(std::string(name), entry.launches);
    return result;
  });
}

void heartbeat(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    startHeartbeat(static_cast<int>(integerArgument(info[0], "the descriptor", 0, 1 << 30)),
                   static_cast<int>(integerArgument(info[1], "the interval", 1, 1 << 30)));
  });
}

void die(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    dieWithParent(info[0].IsUndefined()
                      ? 0
                      : static_cast<int>(integerArgument(info[0], "the parent's id", 1, 1 << 30)));
  });
}

void endConnection(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const auto descriptor = integerArgument(info[0], "the descriptor", 0, 1 << 30);
    const auto silence = integerArgument(info[1], "the milliseconds", 1, 1 << 30);
    endWhenSilent(static_cast<int>(descriptor), std::chrono::milliseconds(silence));
  });
}

Napi::Value bind(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!info[0].IsArray()) refuse("bindProcess() expects an array of processors");
    const auto list = info[0].As<Napi::Array>();
    std::vector<int> processors;
    for (uint32_t i = 0; i < list.Length(); ++i) {
      processors.push_back(
          static_cast<int>(integerArgument(list.Get(i), "a processor", 0, 1 << 20)));
    }
    return Napi::Boolean::New(info.Env(), bindProcess(processors));
  });
}

Napi::Value lockFile(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto descriptor = integerArgument(info[0], "the descriptor", 0, 1 << 30);
    const char* result = nullptr;
    switch (tryLockFile(static_cast<int>(descriptor))) {
      case FileLock::taken:
        result = "taken";
        break;
      case FileLock::held:
        result = "held";
        break;
      case FileLock::unsupported:
        result = "unsupported";
        break;
    }
    return Napi::String::New(info.Env(), result);
  });
}

void advance(const Napi::CallbackInfo&) { progress::advance(); }

void beginWait(const Napi::CallbackInfo&) { progress::counters().waiting.fetch_add(1); }

void endWait(const Napi::CallbackInfo&) {
  progress::counters().waiting.fetch_sub(1);
  progress::advance();
}

void beginRead(const Napi::CallbackInfo&) { progress::counters().reading.fetch_add(1); }

void endRead(const Napi::CallbackInfo&) {
  progress::counters().reading.fetch_sub(1);
  progress::advance();
}

// The counters as the heartbeat thread writes them.
Napi::Value readProgress(const Napi::CallbackInfo& info) {
  const progress::Counters& counters = progress::counters();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("progress", static_cast<double>(counters.completed.load()));
  result.Set("waiting", counters.waiting.load());
  result.Set("running", counters.running.load());
  result.Set("reading", counters.reading.load());
  return result;
}

// The counters of this module, for another module's shareProgress().
Napi::Value progressCounters(const Napi::CallbackInfo& info) {
  return Napi::External<progress::Counters>::New(info.Env(), &progress::counters());
}

// Makes this module count in the counters of another one.
void shareProgress(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    if (!info[0].IsExternal()) refuse("shareProgress() expects another module's counters");
    progress::shared.store(info[0].As<Napi::External<progress::Counters>>().Data());
  });
}

void shutDown(const Napi::CallbackInfo& info) { environmentOf(info.Env()).shutDown(); }

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment(env);
  env.SetInstanceData(environment);
  environment->device = Napi::Persistent(defineDevice(env));
  environment->executor = Napi::Persistent(defineExecutor(env));
  environment->communicator = Napi::Persistent(defineCommunicator(env));
  environment->array = Napi::Persistent(defineArray(env));
  napi_add_env_cleanup_hook(
      env, [](void* data) { static_cast<Environment*>(data)->shutDown(); }, environment);
  exports.Set("Device", environment->device.Value());
  exports.Set("listDevices", Napi::Function::New<devices>(env));
  exports.Set("libraryVersions", Napi::Function::New<versions>(env));
  exports.Set("operations", Napi::Function::New<operations>(env));
  exports.Set("launches", Napi::Function::New<launches>(env));
  exports.Set("parseProgram", Napi::Function::New<parse>(env));
  exports.Set("startHeartbeat", Napi::Function::New<heartbeat>(env));
  exports.Set("dieWithParent", Napi::Function::New<die>(env));
  exports.Set("endWhenSilent", Napi::Function::New<endConnection>(env));
  exports.Set("bindProcess", Napi::Function::New<bind>(env));
  exports.Set("tryLockFile", Napi::Function::New<lockFile>(env));
  exports.Set("advanceProgress", Napi::Function::New<advance>(env));
  exports.Set("beginWait", Napi::Function::New<beginWait>(env));
  exports.Set("endWait", Napi::Function::New<endWait>(env));
  exports.Set("beginRead", Napi::Function::New<beginRead>(env));
  exports.Set("endRead", Napi::Function::New<endRead>(env));
  exports.Set("readProgress", Napi::Function::New<readProgress>(env));
  exports.Set("progressCounters", Napi::Function::New<progressCounters>(env));
  exports.Set("shareProgress", Napi::Function::New<shareProgress>(env));
  exports.Set("shutDown", Napi::Function::New<shutDown>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(onehour, initialize)

}  // namespace onehour::addon
