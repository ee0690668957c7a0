// The class Device: a backend, which loads programs and makes communicators and arrays.
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/backend.h"
#include "../core/executor.h"
#include "environment.h"
#include "errors.h"
#include "objects.h"
#include "promise.h"
#include "values.h"

namespace onehour::addon {
namespace {

class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Device",
                       {InstanceAccessor<&DeviceObject::properties>("properties"),
                        InstanceAccessor<&DeviceObject::availableBytes>("availableBytes"),
                        InstanceMethod<&DeviceObject::load>("load"),
                        InstanceMethod<&DeviceObject::createCommunicator>("createCommunicator"),
                        InstanceMethod<&DeviceObject::array>("array"),
                        InstanceMethod<&DeviceObject::dispose>("dispose")});
  }

  // new Device({ threads, ordinal })
  explicit DeviceObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceObject>(info) {
    guarded(info.Env(), [&] {
      if (!info[0].IsObject()) refuse("a device is opened with { threads, ordinal }");
      const auto argument = info[0].As<Napi::Object>();
      BackendOptions options;
      options.threads =
          static_cast<int>(integerArgument(argument.Get("threads"), "threads", 1, 4096));
      options.ordinal =
          static_cast<int>(integerArgument(argument.Get("ordinal"), "ordinal", 0, 4096));
      backend_ = createBackend(options);
    });
  }

 private:
  const std::shared_ptr<Backend>& live() const {
    if (!backend_) throw Error("ERR_DISPOSED", "onehour", "the device was disposed; open it again");
    return backend_;
  }

  Napi::Value properties(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const DeviceProperties properties = live()->properties();
      auto result = Napi::Object::New(info.Env());
      result.Set("name", properties.name);
      result.Set("kind", properties.kind);
      result.Set("threads", properties.threads);
      result.Set("memoryBytes", static_cast<double>(properties.memoryBytes));
      result.Set("bf16", properties.bf16);
      result.Set("channelMultiple", properties.channelMultiple);
      if (!properties.driver.empty()) result.Set("driver", properties.driver);
      return result;
    });
  }

  Napi::Value availableBytes(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const auto bytes = live()->availableBytes();
      if (!bytes) return info.Env().Undefined();
      return Napi::Number::New(info.Env(), static_cast<double>(*bytes));
    });
  }

  Napi::Value load(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      if (!info[0].IsArray()) refuse("load() expects programs, an array of { name, text }");
      std::vector<ProgramText> texts;
      const auto list = info[0].As<Napi::Array>();
      for (uint32_t index = 0; index < list.Length(); ++index) {
        const Napi::Value item = list.Get(index);
        if (!item.IsObject()) refuse("load() expects programs, an array of { name, text }");
        const auto object = item.As<Napi::Object>();
        texts.push_back({stringArgument(object.Get("name"), "the program's name"),
                         stringArgument(object.Get("text"), "the program's text")});
      }
      Environment& environment = environmentOf(info.Env());
      auto executor = Executor::create(live(), communicatorsOf(environment, info[1]));
      environment.adopt(executor->worker(), [weak = std::weak_ptr(executor)] {
        if (const auto live = weak.lock()) live->dispose();
      });
      const auto failed = std::make_shared<bool>(false);
      const Pending pending(info.Env(), [executor, failed](Napi::Env env) -> Napi::Value {
        if (*failed) return env.Undefined();
        auto copy = executor;
        return environmentOf(env).executor.New(
            {Napi::External<std::shared_ptr<Executor>>::New(env, &copy)});
      });
      executor->load(std::move(texts), [executor = executor.get(), failed,
                                        done = pending.done()](std::exception_ptr error) {
        *failed = error != nullptr;
        if (error) executor->dispose();
        done(std::move(error));
      });
      return pending.deferred.Promise();
    });
  }

  static Executor::Communicators communicatorsOf(const Environment& environment,
                                                 const Napi::Value& value) {
    Executor::Communicators result;
    if (value.IsUndefined() || value.IsNull()) return result;
    if (!value.IsObject()) refuse("communicators are an object of communicators by name");
    const auto object = value.As<Napi::Object>();
    const Napi::Array names = object.GetPropertyNames();
    for (uint32_t index = 0; index < names.Length(); ++index) {
      const std::string name = names.Get(index).ToString();
      const Napi::Value item = object.Get(name);
      if (!item.IsObject() ||
          !item.As<Napi::Object>().InstanceOf(environment.communicator.Value())) {
        refuse("\"" + name + "\" is not a communicator of this device");
      }
      result[name] = nativeCommunicator(item.As<Napi::Object>());
    }
    return result;
  }

  Napi::Value createCommunicator(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const auto size = integerArgument(info[1], "size", 1, 1 << 20);
      const auto rank = integerArgument(info[0], "rank", 0, size - 1);
      const double timeout = numberArgument(info[2], "timeout", 0, 1e9);
      const bool acrossHosts = info[3].ToBoolean();
      const std::string name =
          info[4].IsUndefined() ? "" : stringArgument(info[4], "the communicator's name");
      std::shared_ptr<Communicator> communicator = live()->createCommunicator(
          static_cast<int>(rank), static_cast<int>(size), timeout, acrossHosts, name);
      return environmentOf(info.Env())
          .communicator.New(
              {Napi::External<std::shared_ptr<Communicator>>::New(info.Env(), &communicator)});
    });
  }

  Napi::Value array(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const std::shared_ptr<Backend>& backend = live();
      if (!copies_) {
        copies_ = std::make_shared<ArrayCopies>(backend);
        environmentOf(info.Env()).adopt(copies_->worker(), [] {});  // a copy ends by itself
      }
      return createArray(info.Env(), copies_, info[0]);
    });
  }

  void dispose(const Napi::CallbackInfo&) {
    copies_.reset();
    backend_.reset();
  }

  std::shared_ptr<Backend> backend_;
  std::shared_ptr<ArrayCopies> copies_;  // from the first array on
};

}  // namespace

Napi::Function defineDevice(Napi::Env env) { return DeviceObject::define(env); }

}  // namespace onehour::addon
