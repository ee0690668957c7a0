// The module's face to JavaScript: devices, executors and communicators as objects, promises that
// settle from native threads, and a bounded end when the environment goes away.
#include <napi.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backend.h"
#include "error.h"
#include "executor.h"
#include "heartbeat.h"
#include "progress.h"
#include "worker.h"

namespace onehour {
namespace {

constexpr auto kShutdownTime = std::chrono::milliseconds(1500);

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
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return toJavaScript(env, error);
  } catch (const std::exception& error) {
    return toJavaScript(env, Error("ERR_NATIVE", "onehour", error.what()));
  } catch (...) {
    return toJavaScript(env, Error("ERR_NATIVE", "onehour", "an unknown exception"));
  }
}

// Runs a method's body; a native Error becomes a JavaScript one with its code.
template <typename Body>
auto guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Error& error) {
    throw toJavaScript(env, error);
  }
}

[[noreturn]] void refuse(const std::string& message) {
  throw Error("ERR_USAGE", "onehour", message);
}

std::string stringArgument(const Napi::Value& value, const std::string& what) {
  if (!value.IsString()) refuse(what + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

double numberArgument(const Napi::Value& value, const std::string& what, double least,
                      double most) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : least - 1;
  if (!(number >= least && number <= most)) {
    refuse(what + " must be a number from " + std::to_string(static_cast<int64_t>(least)) + " to " +
           std::to_string(static_cast<int64_t>(most)));
  }
  return number;
}

int64_t integerArgument(const Napi::Value& value, const std::string& what, int64_t least,
                        int64_t most) {
  const double number =
      numberArgument(value, what, static_cast<double>(least), static_cast<double>(most));
  if (number != static_cast<double>(static_cast<int64_t>(number))) {
    refuse(what + " must be an integer");
  }
  return static_cast<int64_t>(number);
}

constexpr int64_t kMaximumInteger = (int64_t{1} << 53) - 1;

// Carries functions from native threads to the JavaScript thread, and keeps the process alive only
// while something is awaited. Lives as long as a native thread refers to it.
class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  using Letter = std::function<void(Napi::Env)>;

  static std::shared_ptr<Mailbox> create(Napi::Env env) {
    auto mailbox = std::make_shared<Mailbox>();
    // The function's finalizer, at the environment's end, gives this reference back.
    auto* held = new std::shared_ptr<Mailbox>(mailbox);
    mailbox->function_ = Function::New(
        env, "onehour", 0, 1, mailbox.get(),
        [](Napi::Env, std::shared_ptr<Mailbox>* reference, Mailbox*) {
          (*reference)->close();
          delete reference;
        },
        held);
    mailbox->function_.Unref(env);
    return mailbox;
  }

  // On the JavaScript thread: a letter will come.
  void expect(Napi::Env env) {
    if (expected_++ == 0) function_.Ref(env);
  }

  // From any thread. A letter that cannot be delivered leaks: it holds references to JavaScript
  // objects, which only their own thread may release, and only while its environment exists.
  void post(Letter letter) {
    auto* data = new Letter(std::move(letter));
    const std::lock_guard lock(mutex_);
    if (!closed_) function_.NonBlockingCall(data);
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }

 private:
  static void deliver(Napi::Env env, Napi::Function, Mailbox* mailbox, Letter* data) {
    // Too late to release what the letter holds, see `post`.
    if (static_cast<napi_env>(env) == nullptr) return;
    const std::unique_ptr<Letter> letter(data);
    if (--mailbox->expected_ == 0) mailbox->function_.Unref(env);
    (*letter)(env);
  }

  using Function = Napi::TypedThreadSafeFunction<Mailbox, Letter, deliver>;

  Function function_;
  int expected_ = 0;  // of the JavaScript thread alone
  std::mutex mutex_;
  bool closed_ = false;
};

// Bytes of a typed array that a native thread works on.
struct HeldArray {
  Napi::ObjectReference reference;
  napi_typedarray_type type;
  uint8_t* data;
  size_t bytes;
};

// What one JavaScript environment (the main thread or a worker) owns natively.
class Environment {
 public:
  explicit Environment(Napi::Env env) : mailbox(Mailbox::create(env)) {}

  // A thread that must end with the environment, and how to make it end.
  void adopt(std::shared_ptr<Worker> worker, std::function<void()> abort) {
    threads_.remove_if([](const Thread& thread) {
      return thread.worker->finished() && thread.worker->join(Worker::Clock::now());
    });
    threads_.push_back({std::move(worker), std::move(abort)});
  }

  // Ends all native work within a bounded time. A thread that does not end (a kernel that runs for
  // seconds) is left alone, and the process then ends without running destructors under it.
  void shutDown() {
    mailbox->close();
    for (Thread& thread : threads_) thread.abort();
    const auto deadline = Worker::Clock::now() + kShutdownTime;
    bool ended = true;
    for (Thread& thread : threads_) {
      thread.worker->stop();
      ended = thread.worker->join(deadline) && ended;
    }
    threads_.clear();
    if (!ended) on_exit([](int status, void*) { _exit(status); }, nullptr);
  }

  std::shared_ptr<HeldArray> hold(const Napi::Value& value, const std::string& what) {
    if (!value.IsTypedArray()) refuse(what + " must be a typed array");
    const auto array = value.As<Napi::TypedArray>();
    const Napi::Value buffer = array.Get("buffer");
    if (!buffer.IsArrayBuffer()) refuse(what + " must not lie in a SharedArrayBuffer");
    if (buffer.As<Napi::ArrayBuffer>().IsDetached()) refuse(what + " was transferred away");
    if (buffer.As<Napi::Object>().Get("resizable").ToBoolean()) {
      refuse(what + " must not lie in a resizable ArrayBuffer");
    }
    auto held = std::make_shared<HeldArray>();
    napi_value arrayBuffer;
    size_t length = 0;
    size_t offset = 0;
    void* data = nullptr;
    napi_get_typedarray_info(array.Env(), array, &held->type, &length, &data, &arrayBuffer,
                             &offset);
    held->data = static_cast<uint8_t*>(data);
    held->bytes = array.ByteLength();
    for (const auto& other : held_) {
      if (held->data < other->data + other->bytes && other->data < held->data + held->bytes) {
        refuse(what + " overlaps memory of an operation that has not finished; await that first");
      }
    }
    held->reference = Napi::Persistent(array.As<Napi::Object>());
    held_.push_back(held);
    return held;
  }

  // On the JavaScript thread. False when the buffer was transferred while it was in use.
  bool release(const std::shared_ptr<HeldArray>& held) {
    held_.remove(held);
    const Napi::Value buffer = held->reference.Value().Get("buffer");
    held->reference.Reset();
    return !buffer.As<Napi::ArrayBuffer>().IsDetached();
  }

  const std::shared_ptr<Mailbox> mailbox;
  Napi::FunctionReference device;
  Napi::FunctionReference executor;
  Napi::FunctionReference communicator;

 private:
  struct Thread {
    std::shared_ptr<Worker> worker;
    std::function<void()> abort;
  };
  std::list<Thread> threads_;
  std::list<std::shared_ptr<HeldArray>> held_;
};

Environment& environmentOf(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

// A promise and the native callback that settles it; `result` makes the value on the JavaScript
// thread, and may throw an Error to reject.
struct Pending {
  Pending(Napi::Env env, std::function<Napi::Value(Napi::Env)> result)
      : deferred(env), mailbox(environmentOf(env).mailbox), result(std::move(result)) {
    mailbox->expect(env);
  }

  Executor::Done done() const {
    return [deferred = deferred, mailbox = mailbox, result = result](std::exception_ptr error) {
      mailbox->post([deferred, result, error](Napi::Env env) {
        // `result` runs in any case: it also lets go of what the operation held.
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

  Napi::Promise::Deferred deferred;
  std::shared_ptr<Mailbox> mailbox;
  std::function<Napi::Value(Napi::Env)> result;
};

Napi::Value undefinedResult(Napi::Env env) { return env.Undefined(); }

Napi::Value rejected(Napi::Env env, const Error& error) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(toJavaScript(env, error).Value());
  return deferred.Promise();
}

// Runs an asynchronous method's body; whatever it throws becomes a rejection.
template <typename Body>
Napi::Value promised(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Error& error) {
    return rejected(env, error);
  }
}

Napi::Value toUint8Array(Napi::Env env, std::vector<uint8_t> bytes) {
  auto array = Napi::Uint8Array::New(env, bytes.size());
  if (!bytes.empty()) std::memcpy(array.Data(), bytes.data(), bytes.size());
  return array;
}

// A view of native memory, which it keeps alive.
Napi::Value toView(Napi::Env env, std::shared_ptr<void> memory, size_t bytes) {
  auto* held = new std::shared_ptr<void>(std::move(memory));
  const auto buffer = Napi::ArrayBuffer::New(
      env, held->get(), bytes,
      [](Napi::Env, void*, std::shared_ptr<void>* reference) { delete reference; }, held);
  return Napi::Uint8Array::New(env, bytes, buffer, 0);
}

// ---------------------------------------------------------------------------------- communicators

// A native communicator with a thread of its own: operations run one after another there, so a
// blocked one holds up neither JavaScript nor libuv's pool.
class CommunicatorObject : public Napi::ObjectWrap<CommunicatorObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Communicator",
                       {InstanceAccessor<&CommunicatorObject::rank>("rank"),
                        InstanceAccessor<&CommunicatorObject::size>("size"),
                        InstanceMethod<&CommunicatorObject::address>("address"),
                        InstanceMethod<&CommunicatorObject::connect>("connect"),
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

  Napi::Value connect(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      if (!info[0].IsArray()) refuse("connect() expects the addresses of all ranks, in rank order");
      const auto list = info[0].As<Napi::Array>();
      if (list.Length() != static_cast<uint32_t>(communicator_->size())) {
        refuse("connect() expects " + std::to_string(communicator_->size()) + " addresses, got " +
               std::to_string(list.Length()));
      }
      std::vector<std::vector<uint8_t>> addresses;
      for (uint32_t index = 0; index < list.Length(); ++index) {
        addresses.push_back(copyBytes(list.Get(index), "an address"));
      }
      return enqueue(
          info.Env(),
          [addresses = std::move(addresses)](Communicator& communicator) {
            communicator.connect(addresses);
          },
          undefinedResult);
    });
  }

  Napi::Value allReduce(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
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

  // Doubles are not a type of programs: gathered, then summed in rank order, alike on all ranks.
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
      const auto own = std::make_shared<std::vector<uint8_t>>(copyBytes(info[0], "the array"));
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

  static std::vector<uint8_t> copyBytes(const Napi::Value& value, const std::string& what) {
    if (!value.IsTypedArray()) refuse(what + " must be a Uint8Array");
    const auto array = value.As<Napi::TypedArray>();
    if (array.TypedArrayType() != napi_uint8_array) refuse(what + " must be a Uint8Array");
    if (!array.Get("buffer").IsArrayBuffer()) refuse(what + " must not lie in shared memory");
    const auto bytes = array.As<Napi::Uint8Array>();
    return {bytes.Data(), bytes.Data() + bytes.ByteLength()};
  }

  friend class ExecutorObject;

  std::shared_ptr<Communicator> communicator_;
  std::shared_ptr<Worker> worker_;
};

// -------------------------------------------------------------------------------------- executors

class ExecutorObject : public Napi::ObjectWrap<ExecutorObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Executor",
                       {InstanceAccessor<&ExecutorObject::memory>("memory"),
                        InstanceAccessor<&ExecutorObject::slots>("slots"),
                        InstanceMethod<&ExecutorObject::input>("input"),
                        InstanceMethod<&ExecutorObject::output>("output"),
                        InstanceMethod<&ExecutorObject::submit>("submit"),
                        InstanceMethod<&ExecutorObject::write>("write"),
                        InstanceMethod<&ExecutorObject::read>("read"),
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

  Napi::Value write(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const std::string arena = stringArgument(info[0], "the arena");
      const int64_t offset = integerArgument(info[1], "offset", 0, kMaximumInteger);
      std::vector<uint8_t> bytes = CommunicatorObject::copyBytes(info[2], "the data");
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

// ---------------------------------------------------------------------------------------- devices

class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Device",
                       {InstanceAccessor<&DeviceObject::properties>("properties"),
                        InstanceAccessor<&DeviceObject::operations>("operations"),
                        InstanceMethod<&DeviceObject::load>("load"),
                        InstanceMethod<&DeviceObject::createCommunicator>("createCommunicator"),
                        InstanceMethod<&DeviceObject::dispose>("dispose")});
  }

  // new Device({ threads })
  explicit DeviceObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceObject>(info) {
    guarded(info.Env(), [&] {
      if (!info[0].IsObject()) refuse("a device is opened with { threads }");
      BackendOptions options;
      options.threads = static_cast<int>(
          integerArgument(info[0].As<Napi::Object>().Get("threads"), "threads", 1, 4096));
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
      return result;
    });
  }

  Napi::Value operations(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      auto result = Napi::Array::New(info.Env());
      uint32_t count = 0;
      for (const auto& [name, factory] : live()->kernels()) {
        result.Set(count++, std::string(name));
      }
      return result;
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
      result[name] = CommunicatorObject::Unwrap(item.As<Napi::Object>())->native();
    }
    return result;
  }

  Napi::Value createCommunicator(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const auto size = integerArgument(info[1], "size", 1, 1 << 20);
      const auto rank = integerArgument(info[0], "rank", 0, size - 1);
      const double timeout = numberArgument(info[2], "timeout", 0, 1e9);
      std::shared_ptr<Communicator> communicator =
          live()->createCommunicator(static_cast<int>(rank), static_cast<int>(size), timeout);
      return environmentOf(info.Env())
          .communicator.New(
              {Napi::External<std::shared_ptr<Communicator>>::New(info.Env(), &communicator)});
    });
  }

  void dispose(const Napi::CallbackInfo&) { backend_.reset(); }

  std::shared_ptr<Backend> backend_;
};

// ------------------------------------------------------------------------------ process functions

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

void advance(const Napi::CallbackInfo&) { progress::advance(); }

void beginWait(const Napi::CallbackInfo&) { progress::counters().waiting.fetch_add(1); }

void endWait(const Napi::CallbackInfo&) {
  progress::counters().waiting.fetch_sub(1);
  progress::advance();
}

// The counters of this module, for another module's shareProgress().
Napi::Value progressCounters(const Napi::CallbackInfo& info) {
  return Napi::External<progress::Counters>::New(info.Env(), &progress::counters());
}

// From now on this module counts in the counters of another one.
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
  environment->device = Napi::Persistent(DeviceObject::define(env));
  environment->executor = Napi::Persistent(ExecutorObject::define(env));
  environment->communicator = Napi::Persistent(CommunicatorObject::define(env));
  napi_add_env_cleanup_hook(
      env, [](void* data) { static_cast<Environment*>(data)->shutDown(); }, environment);
  exports.Set("Device", environment->device.Value());
  exports.Set("parseProgram", Napi::Function::New<parse>(env));
  exports.Set("startHeartbeat", Napi::Function::New<heartbeat>(env));
  exports.Set("dieWithParent", Napi::Function::New<die>(env));
  exports.Set("advanceProgress", Napi::Function::New<advance>(env));
  exports.Set("beginWait", Napi::Function::New<beginWait>(env));
  exports.Set("endWait", Napi::Function::New<endWait>(env));
  exports.Set("progressCounters", Napi::Function::New<progressCounters>(env));
  exports.Set("shareProgress", Napi::Function::New<shareProgress>(env));
  exports.Set("shutDown", Napi::Function::New<shutDown>(env));
  return exports;
}

}  // namespace

Napi::Object InitializeModule(Napi::Env env, Napi::Object exports) {
  return initialize(env, exports);
}

NODE_API_MODULE(onehour, InitializeModule)

}  // namespace onehour
