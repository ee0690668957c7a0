// Takes results from native threads to the JavaScript thread.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace onehour::addon {

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

}  // namespace onehour::addon
