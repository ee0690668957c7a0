#include "environment.h"

#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "errors.h"

namespace onehour::addon {
namespace {

constexpr auto kShutdownTime = std::chrono::milliseconds(1500);

}  // namespace

void Environment::adopt(std::shared_ptr<Worker> worker, std::function<void()> abort) {
  threads_.remove_if([](const Thread& thread) {
    return thread.worker->finished() && thread.worker->join(Worker::Clock::now());
  });
  threads_.push_back({std::move(worker), std::move(abort)});
}

void Environment::shutDown() {
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

std::shared_ptr<HeldArray> Environment::hold(const Napi::Value& value, const std::string& what) {
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
  napi_get_typedarray_info(array.Env(), array, &held->type, &length, &data, &arrayBuffer, &offset);
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

bool Environment::release(const std::shared_ptr<HeldArray>& held) {
  held_.remove(held);
  const Napi::Value buffer = held->reference.Value().Get("buffer");
  held->reference.Reset();
  return !buffer.As<Napi::ArrayBuffer>().IsDetached();
}

Environment& environmentOf(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

}  // namespace onehour::addon
