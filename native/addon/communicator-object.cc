// The class Communicator: collectives on typed arrays, each a promise.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/array.h"
#include "../core/words.h"
#include "../core/worker.h"
#include "environment.h"
#include "errors.h"
#include "objects.h"
#include "promise.h"
#include "values.h"

namespace onehour::addon {
namespace {

// A native communicator with a thread of its own: operations run one after another there, so a
// blocked one holds up neither JavaScript nor libuv's pool.
class CommunicatorObject : public Napi::ObjectWrap<CommunicatorObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Communicator",
                       {InstanceAccessor<&CommunicatorObject::rank>("rank"),
                        InstanceAccessor<&CommunicatorObject::size>("size"),
                        InstanceAccessor<&CommunicatorObject::remark>("remark"),
                        InstanceMethod<&CommunicatorObject::address>("address"),
                        InstanceMethod<&CommunicatorObject::connect>("connect"),
                        InstanceMethod<&CommunicatorObject::linkTo>("linkTo"),
                        InstanceMethod<&CommunicatorObject::allReduce>("allReduce"),
                        InstanceMethod<&CommunicatorObject::broadcast>("broadcast"),
                        InstanceMethod<&CommunicatorObject::allGather>("allGather"),
                        InstanceMethod<&CommunicatorObject::barrier>("barrier"),
                        InstanceMethod<&CommunicatorObject::abort>("abort")});
  }

  explicit CommunicatorObject(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<CommunicatorObject>(info) {
    guarded(info.Env(), [&] {
      if (!info[0].IsExternal()) refuse("communicators are made by device.createCommunicator()");
      communicator_ = *info[0].As<Napi::External<std::shared_ptr<Communicator>>>().Data();
      worker_ = std::make_shared<Worker>("oh-communicate");
      environmentOf(info.Env()).adopt(worker_, [weak = std::weak_ptr(communicator_)] {
        if (const auto communicator = weak.lock()) communicator->abort();
      });
    });
  }

  ~CommunicatorObject() override {
    if (worker_) worker_->stop();
  }

  const std::shared_ptr<Communicator>& native() const { return communicator_; }

 private:
  using Operation = std::function<void(Communicator&)>;

  Napi::Value rank(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), communicator_->rank());
  }

  Napi::Value size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), communicator_->size());
  }

  Napi::Value remark(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), communicator_->remark());
  }

  Napi::Value linkTo(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const int peer = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : -1;
      if (peer < 0 || peer >= communicator_->size() || peer == communicator_->rank()) {
        refuse("linkTo() expects another rank, from 0 to " +
               std::to_string(communicator_->size() - 1));
      }
      return Napi::Value(Napi::String::New(info.Env(), communicator_->linkTo(peer)));
    });
  }

  Napi::Value address(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return toUint8Array(info.Env(), communicator_->address()); });
  }

  // Queues an operation; `result` follows it on the JavaScript thread, after an error too.
  Napi::Value enqueue(Napi::Env env, Operation operation,
                      std::function<Napi::Value(Napi::Env)> result) {
    const auto self = std::make_shared<Napi::ObjectReference>(Napi::Persistent(Value()));
    const Pending pending(env, [self, result = std::move(result)](Napi::Env environment) {
      self->Reset();
      return result(environment);
    });
    const Executor::Done done = pending.done();
    worker_->post([communicator = communicator_, operation = std::move(operation), done] {
      std::exception_ptr error;
      try {
        operation(*communicator);
      } catch (...) {
        error = std::current_exception();
      }
      done(error);
    });
    return pending.deferred.Promise();
  }

  // An operation on a typed array in place.
  Napi::Value enqueueHeld(Napi::Env env, std::shared_ptr<HeldArray> held, Operation operation) {
    return enqueue(env, std::move(operation), [held](Napi::Env environment) {
      if (!environmentOf(environment).release(held)) {
        refuse("the array was transferred away while a collective worked on it");
      }
      return environment.Undefined();
    });
  }

  // An operation on an array of a device, when the operations before it on that array have ended.
  Napi::Value enqueueOn(Napi::Env env, const std::shared_ptr<DeviceArray>& array,
                        Operation operation) {
    return enqueue(
        env,
        [array, ticket = array->ticket(),
         operation = std::move(operation)](Communicator& communicator) {
          array->inTurn(ticket, [&] { operation(communicator); });
        },
        undefinedResult);
  }

  // The array of a device that an argument is, or null.
  static std::shared_ptr<DeviceArray> arrayOf(const Napi::Value& value) {
    if (!value.IsObject()) return nullptr;
    const auto object = value.As<Napi::Object>();
    const bool fits = object.InstanceOf(environmentOf(value.Env()).array.Value());
    return fits ? nativeArray(object) : nullptr;
  }

  Napi::Value connect(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      if (!info[0].IsArray()) refuse("connect() expects the addresses of all ranks, in rank order");
      const auto list = info[0].As<Napi::Array>();
      if (list.Length() != static_cast<uint32_t>(communicator_->size())) {
        refuse("connect() expects " + counted(communicator_->size(), "address") + ", got " +
               std::to_string(list.Length()));
      }
      std::vector<std::vector<uint8_t>> addresses;
      for (uint32_t index = 0; index < list.Length(); ++index) {
        addresses.push_back(bytesArgument(list.Get(index), "an address"));
      }
      const auto connected = std::make_shared<bool>(false);
      return enqueue(
          info.Env(),
          [addresses = std::move(addresses), connected](Communicator& communicator) {
            *connected = communicator.connect(addresses);
          },
          [connected](Napi::Env env) { return Napi::Boolean::New(env, *connected); });
    });
  }

  Napi::Value allReduce(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      if (const auto array = arrayOf(info[0])) {
        return enqueueOn(info.Env(), array, [array](Communicator& communicator) {
          communicator.allReduce(array->data(), array->count(), array->type());
        });
      }
      const auto held = environmentOf(info.Env()).hold(info[0], "the array");
      uint8_t* data = held->data;
      const size_t bytes = held->bytes;
      switch (held->type) {
        case napi_float32_array:
        case napi_int32_array: {
          const DataType type = held->type == napi_float32_array ? DataType::f32 : DataType::i32;
          return enqueueHeld(info.Env(), held, [data, bytes, type](Communicator& communicator) {
            communicator.allReduce(data, bytes / bytesOf(type), type);
          });
        }
        case napi_float64_array:
          return enqueueHeld(info.Env(), held, [data, bytes](Communicator& communicator) {
            reduceDoubles(communicator, reinterpret_cast<double*>(data), bytes / sizeof(double));
          });
        default:
          environmentOf(info.Env()).release(held);
          refuse("allReduce() sums a Float32Array, Float64Array or Int32Array");
      }
    });
  }

  // Programs have no type for doubles, so these are gathered and then summed in rank order, which
  // gives all ranks the same bits.
  static void reduceDoubles(Communicator& communicator, double* data, size_t count) {
    const auto size = static_cast<size_t>(communicator.size());
    std::vector<double> all(count * size);
    communicator.allGather(data, all.data(), count * sizeof(double));
    for (size_t index = 0; index < count; ++index) {
      double sum = 0;
      for (size_t rank = 0; rank < size; ++rank) sum += all[rank * count + index];
      data[index] = sum;
    }
  }

  Napi::Value broadcast(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const auto root =
          static_cast<int>(integerArgument(info[1], "root", 0, communicator_->size() - 1));
      if (const auto array = arrayOf(info[0])) {
        return enqueueOn(info.Env(), array, [array, root](Communicator& communicator) {
          communicator.broadcast(array->data(), array->bytes(), root);
        });
      }
      const auto held = environmentOf(info.Env()).hold(info[0], "the array");
      uint8_t* data = held->data;
      const size_t bytes = held->bytes;
      return enqueueHeld(info.Env(), held, [data, bytes, root](Communicator& communicator) {
        communicator.broadcast(data, bytes, root);
      });
    });
  }

  Napi::Value allGather(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const auto own = std::make_shared<std::vector<uint8_t>>(bytesArgument(info[0], "the array"));
      const auto all = std::make_shared<std::vector<uint8_t>>();
      return enqueue(
          info.Env(),
          [own, all](Communicator& communicator) {
            all->resize(own->size() * static_cast<size_t>(communicator.size()));
            communicator.allGather(own->data(), all->data(), own->size());
          },
          [all](Napi::Env env) { return toUint8Array(env, std::move(*all)); });
    });
  }

  Napi::Value barrier(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      return enqueue(
          info.Env(), [](Communicator& communicator) { communicator.barrier(); }, undefinedResult);
    });
  }

  void abort(const Napi::CallbackInfo&) { communicator_->abort(); }

  std::shared_ptr<Communicator> communicator_;
  std::shared_ptr<Worker> worker_;
};

}  // namespace

Napi::Function defineCommunicator(Napi::Env env) { return CommunicatorObject::define(env); }

const std::shared_ptr<Communicator>& nativeCommunicator(const Napi::Object& object) {
  return CommunicatorObject::Unwrap(object)->native();
}

}  // namespace onehour::addon
