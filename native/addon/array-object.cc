// The class DeviceArray: an array in a device's memory, written and read by promises.
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/array.h"
#include "../core/words.h"
#include "environment.h"
#include "errors.h"
#include "objects.h"
#include "promise.h"
#include "values.h"

namespace onehour::addon {
namespace {

// Carries an array and its device's copy thread to the class's constructor.
struct Content {
  std::shared_ptr<ArrayCopies> copies;
  std::shared_ptr<DeviceArray> array;
};

DataType typeOf(const HeldArray& held) {
  return held.type == napi_int32_array ? DataType::i32 : DataType::f32;
}

// Copies a held typed array into a device's; `result` follows on the JavaScript thread.
Napi::Value write(Napi::Env env, const Content& content, const std::shared_ptr<HeldArray>& held,
                  std::function<Napi::Value(Napi::Env)> result) {
  const auto failed = std::make_shared<bool>(false);
  const Pending pending(env, [held, failed, result = std::move(result)](Napi::Env environment) {
    const bool kept = environmentOf(environment).release(held);
    if (*failed) return environment.Undefined();
    if (!kept) refuse("the data was transferred away while it was copied");
    return result(environment);
  });
  content.copies->write(content.array, held->data,
                        [failed, done = pending.done()](std::exception_ptr error) {
                          *failed = error != nullptr;
                          done(std::move(error));
                        });
  return pending.deferred.Promise();
}

class ArrayObject : public Napi::ObjectWrap<ArrayObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "DeviceArray",
        {InstanceMethod<&ArrayObject::write>("write"), InstanceMethod<&ArrayObject::read>("read"),
         InstanceMethod<&ArrayObject::dispose>("dispose")});
  }

  explicit ArrayObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ArrayObject>(info) {
    guarded(info.Env(), [&] {
      if (!info[0].IsExternal()) refuse("arrays of a device are made by device.array()");
      content_ = *info[0].As<Napi::External<Content>>().Data();
    });
  }

  ~ArrayObject() override { letGo(); }

  const std::shared_ptr<DeviceArray>& native() const { return live().array; }

 private:
  const Content& live() const {
    if (!content_.array) {
      throw Error("ERR_DISPOSED", "onehour", "the array was disposed; make another one");
    }
    return content_;
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const Content& content = live();
      const auto held = environmentOf(info.Env()).hold(info[0], "the data");
      const bool fits = (held->type == napi_float32_array || held->type == napi_int32_array) &&
                        typeOf(*held) == content.array->type() &&
                        held->bytes == content.array->bytes();
      if (!fits) {
        environmentOf(info.Env()).release(held);
        refuse("the data must be " +
               std::string(content.array->type() == DataType::i32 ? "an Int32Array"
                                                                  : "a Float32Array") +
               " of " + counted(content.array->count(), "element") + ", as the array is");
      }
      return addon::write(info.Env(), content, held, undefinedResult);
    });
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const Content& content = live();
      const auto bytes = std::make_shared<std::vector<uint8_t>>(content.array->bytes());
      const Pending pending(
          info.Env(), [bytes](Napi::Env env) { return toUint8Array(env, std::move(*bytes)); });
      content.copies->read(content.array, bytes->data(), pending.done());
      return pending.deferred.Promise();
    });
  }

  void dispose(const Napi::CallbackInfo&) { letGo(); }

  // Operations in progress hold the array until they end.
  void letGo() {
    if (content_.array) content_.copies->release(std::move(content_.array));
    content_ = {};
  }

  Content content_;
};

}  // namespace

Napi::Function defineArray(Napi::Env env) { return ArrayObject::define(env); }

const std::shared_ptr<DeviceArray>& nativeArray(const Napi::Object& object) {
  return ArrayObject::Unwrap(object)->native();
}

Napi::Value createArray(Napi::Env env, const std::shared_ptr<ArrayCopies>& copies,
                        const Napi::Value& data) {
  const auto held = environmentOf(env).hold(data, "the data");
  if (held->type != napi_float32_array && held->type != napi_int32_array) {
    environmentOf(env).release(held);
    refuse("array() takes a Float32Array or an Int32Array");
  }
  const DataType type = typeOf(*held);
  const Content content{copies, std::make_shared<DeviceArray>(type, held->bytes / bytesOf(type))};
  return write(env, content, held, [content](Napi::Env environment) -> Napi::Value {
    Content copy = content;
    return environmentOf(environment).array.New({Napi::External<Content>::New(environment, &copy)});
  });
}

}  // namespace onehour::addon
