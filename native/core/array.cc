#include "array.h"

#include <future>
#include <utility>

#include "error.h"

namespace onehour {

uint64_t DeviceArray::ticket() {
  const std::lock_guard lock(mutex_);
  return next_++;
}

void DeviceArray::atTurn(uint64_t ticket, std::function<void()> start) {
  {
    const std::lock_guard lock(mutex_);
    if (current_ != ticket) {
      waiting_[ticket] = std::move(start);
      return;
    }
  }
  start();
}

void DeviceArray::endTurn() {
  std::function<void()> start;
  {
    const std::lock_guard lock(mutex_);
    const auto node = waiting_.extract(++current_);
    if (!node.empty()) start = std::move(node.mapped());
  }
  if (start) start();
}

void DeviceArray::awaitTurn(uint64_t ticket) {
  const auto come = std::make_shared<std::promise<void>>();
  atTurn(ticket, [come] { come->set_value(); });
  come->get_future().wait();
}

ArrayCopies::ArrayCopies(std::shared_ptr<Backend> backend)
    : backend_(std::move(backend)), worker_(std::make_shared<Worker>("oh-copy")) {}

void ArrayCopies::write(const std::shared_ptr<DeviceArray>& array, const void* from, Done done) {
  enqueue(
      array,
      [this, array, from] {
        if (!array->memory_) {
          array->memory_ = backend_->allocate(array->bytes(), MemoryKind::device);
        }
        copy(array->data(), from, array->bytes());
      },
      std::move(done));
}

void ArrayCopies::read(const std::shared_ptr<DeviceArray>& array, void* to, Done done) {
  enqueue(
      array, [this, array, to] { copy(to, array->data(), array->bytes()); }, std::move(done));
}

void ArrayCopies::release(std::shared_ptr<DeviceArray> array) {
  worker_->post([self = shared_from_this(), array = std::move(array)] {});
}

void ArrayCopies::enqueue(const std::shared_ptr<DeviceArray>& array, std::function<void()> copy,
                          Done done) {
  const auto job = [self = shared_from_this(), array, copy = std::move(copy), done] {
    std::exception_ptr error;
    try {
      copy();
    } catch (...) {
      error = std::make_exception_ptr(toError(std::current_exception()));
    }
    array->endTurn();
    done(error);
  };
  // Posted at its turn, so that a copy that waits for a collective holds up no other array's.
  array->atTurn(array->ticket(), [worker = worker_, array, job, done] {
    if (worker->post(job)) return;
    array->endTurn();
    done(std::make_exception_ptr(
        Error("ERR_DISPOSED", "onehour", "the device was disposed; open it again")));
  });
}

void ArrayCopies::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  if (!stream_) stream_ = backend_->createStream("copy");
  backend_->copy(*stream_, to, from, bytes);
  backend_->synchronize(*stream_);
}

}  // namespace onehour
