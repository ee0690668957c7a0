// The native threads and buffers of one JavaScript environment (the main thread or a worker), and
// their end, within a bounded time.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "../core/worker.h"
#include "mailbox.h"

namespace onehour::addon {

// Bytes of a typed array that a native thread works on.
struct HeldArray {
  Napi::ObjectReference reference;
  napi_typedarray_type type;
  uint8_t* data;
  size_t bytes;
};

class Environment {
 public:
  explicit Environment(Napi::Env env) : mailbox(Mailbox::create(env)) {}

  // A thread that must end with the environment, and how to make it end.
  void adopt(std::shared_ptr<Worker> worker, std::function<void()> abort);

  // Ends all native work within a bounded time. A thread that does not end (a kernel that runs for
  // seconds) is left alone, and the process then ends without running destructors under it.
  void shutDown();

  // On the JavaScript thread. Refuses memory that another operation holds.
  std::shared_ptr<HeldArray> hold(const Napi::Value& value, const std::string& what);
  // On the JavaScript thread. False when the buffer was transferred while it was in use.
  bool release(const std::shared_ptr<HeldArray>& held);

  const std::shared_ptr<Mailbox> mailbox;
  Napi::FunctionReference device;
  Napi::FunctionReference executor;
  Napi::FunctionReference communicator;
  Napi::FunctionReference array;

 private:
  struct Thread {
    std::shared_ptr<Worker> worker;
    std::function<void()> abort;
  };
  std::list<Thread> threads_;
  std::list<std::shared_ptr<HeldArray>> held_;
};

Environment& environmentOf(Napi::Env env);

}  // namespace onehour::addon
