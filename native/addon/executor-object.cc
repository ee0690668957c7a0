// The class Executor: loaded programs, the memory of their slots, and submissions as promises.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/executor.h"
#include "errors.h"
#include "objects.h"
#include "promise.h"
#include "values.h"

namespace onehour::addon {
namespace {

class ExecutorObject : public Napi::ObjectWrap<ExecutorObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Executor",
                       {InstanceAccessor<&ExecutorObject::memory>("memory"),
                        InstanceAccessor<&ExecutorObject::slots>("slots"),
                        InstanceMethod<&ExecutorObject::input>("input"),
                        InstanceMethod<&ExecutorObject::output>("output"),
                        InstanceMethod<&ExecutorObject::submit>("submit"),
                        InstanceMethod<&ExecutorObject::trace>("trace"),
                        InstanceMethod<&ExecutorObject::write>("write"),
                        InstanceMethod<&ExecutorObject::read>("read"),
                        InstanceMethod<&ExecutorObject::record>("record"),
                        InstanceMethod<&ExecutorObject::forget>("forget"),
                        InstanceMethod<&ExecutorObject::measure>("measure"),
                        InstanceMethod<&ExecutorObject::dispose>("dispose")});
  }

  explicit ExecutorObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ExecutorObject>(info) {
    guarded(info.Env(), [&] {
      if (!info[0].IsExternal()) refuse("executors are made by device.load()");
      executor_ = *info[0].As<Napi::External<std::shared_ptr<Executor>>>().Data();
    });
  }

  ~ExecutorObject() override {
    if (executor_) executor_->dispose();
  }

 private:
  Executor& live() const {
    if (!executor_) {
      throw Error("ERR_DISPOSED", "onehour",
                  "the executor was disposed; load the programs again to run them");
    }
    return *executor_;
  }

  Napi::Value memory(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const Executor::Memory& memory = live().memory();
      auto result = Napi::Object::New(info.Env());
      const auto fill = [&](const char* key, const std::map<std::string, size_t>& figures) {
        auto object = Napi::Object::New(info.Env());
        for (const auto& [name, bytes] : figures) object.Set(name, static_cast<double>(bytes));
        result.Set(key, object);
      };
      fill("arenas", memory.arenas);
      fill("workspaces", memory.workspaces);
      result.Set("total", static_cast<double>(memory.total));
      return result;
    });
  }

  Napi::Value slots(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), live().slots()); });
  }

  Napi::Value view(const Napi::CallbackInfo& info, const std::string& arena) {
    return guarded(info.Env(), [&] {
      const auto slot = static_cast<int>(integerArgument(info[0], "slot", 0, live().slots() - 1));
      return toView(info.Env(), live().slot(arena, slot), live().slotBytes(arena));
    });
  }

  Napi::Value input(const Napi::CallbackInfo& info) { return view(info, "input"); }
  Napi::Value output(const Napi::CallbackInfo& info) { return view(info, "output"); }

  Napi::Value submit(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const std::string program = stringArgument(info[0], "the program's name");
      const auto slot = static_cast<int>(integerArgument(info[1], "slot", 0, live().slots() - 1));
      return settle(info.Env(), undefinedResult, [&](Executor& executor, Executor::Done done) {
        executor.submit(program, slot, std::move(done));
      });
    });
  }

  Napi::Value trace(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const std::string program = stringArgument(info[0], "the program's name");
      const auto slot = static_cast<int>(integerArgument(info[1], "slot", 0, live().slots() - 1));
      const auto trace = std::make_shared<Executor::Trace>();
      return settle(
          info.Env(), [trace](Napi::Env env) { return toObject(env, *trace); },
          [&](Executor& executor, Executor::Done done) {
            executor.trace(
                program, slot,
                [trace, done = std::move(done)](std::exception_ptr error, Executor::Trace all) {
                  *trace = std::move(all);
                  done(std::move(error));
                });
          });
    });
  }

  // An array of numbers: an object a line would take longer than the kernels of short ones.
  static Napi::Value toObject(Napi::Env env, const Executor::Trace& trace) {
    auto times = Napi::Float64Array::New(env, trace.times.size());
    std::copy(trace.times.begin(), trace.times.end(), times.Data());
    auto result = Napi::Object::New(env);
    result.Set("began", trace.began);
    result.Set("times", times);
    return result;
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const std::string arena = stringArgument(info[0], "the arena");
      const int64_t offset = integerArgument(info[1], "offset", 0, kMaximumInteger);
      std::vector<uint8_t> bytes = bytesArgument(info[2], "the data");
      return settle(info.Env(), undefinedResult, [&](Executor& executor, Executor::Done done) {
        executor.write(arena, static_cast<size_t>(offset), std::move(bytes), std::move(done));
      });
    });
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const std::string arena = stringArgument(info[0], "the arena");
      const int64_t offset = integerArgument(info[1], "offset", 0, kMaximumInteger);
      const int64_t length = integerArgument(info[2], "length", 0, kMaximumInteger);
      const auto bytes = std::make_shared<std::vector<uint8_t>>();
      return settle(
          info.Env(), [bytes](Napi::Env env) { return toUint8Array(env, std::move(*bytes)); },
          [&](Executor& executor, Executor::Done done) {
            executor.read(arena, static_cast<size_t>(offset), static_cast<size_t>(length),
                          [bytes, done = std::move(done)](std::exception_ptr error,
                                                          std::vector<uint8_t> data) {
                            *bytes = std::move(data);
                            done(std::move(error));
                          });
          });
    });
  }

  Napi::Value record(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const auto reason = std::make_shared<std::string>();
      return settle(
          info.Env(),
          [reason](Napi::Env env) -> Napi::Value {
            if (reason->empty()) return env.Undefined();
            return Napi::String::New(env, *reason);
          },
          [&](Executor& executor, Executor::Done done) {
            executor.record(
                [reason, done = std::move(done)](std::exception_ptr error, std::string why) {
                  *reason = std::move(why);
                  done(std::move(error));
                });
          });
    });
  }

  Napi::Value forget(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      return settle(info.Env(), undefinedResult, [](Executor& executor, Executor::Done done) {
        executor.forget(std::move(done));
      });
    });
  }

  Napi::Value measure(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const std::string program = stringArgument(info[0], "the program's name");
      const auto slot = static_cast<int>(integerArgument(info[1], "slot", 0, live().slots() - 1));
      const auto repeats = static_cast<int>(integerArgument(info[2], "repeats", 1, 1'000'000));
      const auto timings = std::make_shared<std::vector<Executor::Timing>>();
      return settle(
          info.Env(), [timings](Napi::Env env) { return toArray(env, *timings); },
          [&](Executor& executor, Executor::Done done) {
            executor.measure(program, slot, repeats,
                             [timings, done = std::move(done)](std::exception_ptr error,
                                                               std::vector<Executor::Timing> all) {
                               *timings = std::move(all);
                               done(std::move(error));
                             });
          });
    });
  }

  static Napi::Value toArray(Napi::Env env, const std::vector<Executor::Timing>& timings) {
    auto result = Napi::Array::New(env, timings.size());
    for (uint32_t i = 0; i < timings.size(); ++i) {
      const std::vector<double>& times = timings[i].milliseconds;
      auto milliseconds = Napi::Array::New(env, times.size());
      for (uint32_t j = 0; j < times.size(); ++j) milliseconds.Set(j, times[j]);
      auto timing = Napi::Object::New(env);
      timing.Set("line", timings[i].line);
      timing.Set("milliseconds", milliseconds);
      result.Set(i, timing);
    }
    return result;
  }

  // Starts an operation of the executor and returns its promise, which keeps this object alive.
  template <typename Start>
  Napi::Value settle(Napi::Env env, std::function<Napi::Value(Napi::Env)> result, Start start) {
    Executor& executor = live();
    const auto self = std::make_shared<Napi::ObjectReference>(Napi::Persistent(Value()));
    const Pending pending(env, [self, result = std::move(result)](Napi::Env environment) {
      self->Reset();
      return result(environment);
    });
    try {
      start(executor, pending.done());
    } catch (...) {
      pending.done()(std::current_exception());
    }
    return pending.deferred.Promise();
  }

  void dispose(const Napi::CallbackInfo&) {
    if (!executor_) return;
    executor_->dispose();
    executor_.reset();
  }

  std::shared_ptr<Executor> executor_;
};

}  // namespace

Napi::Function defineExecutor(Napi::Env env) { return ExecutorObject::define(env); }

}  // namespace onehour::addon
