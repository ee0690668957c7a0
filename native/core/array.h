// Arrays in a device's memory that scripts hold, and copies to and from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "backend.h"
#include "worker.h"

namespace onehour {

// Operations on one array come from several threads (copies, and one thread a communicator) and run
// in the order of the calls: each call takes a ticket, and its operation starts when it is up.
class DeviceArray {
 public:
  DeviceArray(DataType type, size_t count) : type_(type), count_(count) {}

  DataType type() const { return type_; }
  size_t count() const { return count_; }
  size_t bytes() const { return count_ * bytesOf(type_); }
  void* data() const { return memory_.get(); }

  uint64_t ticket();
  // Calls `start` when every operation with an earlier ticket has ended: at once, or on the thread
  // of the last of them. The operation that it starts calls `endTurn`, even after an error.
  void atTurn(uint64_t ticket, std::function<void()> start);
  void endTurn();
  // Waits for the turn and runs `body` in it.
  template <typename Body>
  void inTurn(uint64_t ticket, Body body) {
    awaitTurn(ticket);
    const Turn turn{*this};
    body();
  }

 private:
  friend class ArrayCopies;

  struct Turn {
    DeviceArray& array;
    ~Turn() { array.endTurn(); }
  };

  void awaitTurn(uint64_t ticket);

  const DataType type_;
  const size_t count_;
  std::shared_ptr<void> memory_;                       // from the first write on
  std::mutex mutex_;                                   // guards what follows
  uint64_t next_ = 0;                                  // ticket
  uint64_t current_ = 0;                               // turn
  std::map<uint64_t, std::function<void()>> waiting_;  // by ticket
};

// The thread and the stream that copy for all arrays of a device.
class ArrayCopies : public std::enable_shared_from_this<ArrayCopies> {
 public:
  using Done = std::function<void(std::exception_ptr)>;

  explicit ArrayCopies(std::shared_ptr<Backend> backend);

  const std::shared_ptr<Worker>& worker() const { return worker_; }

  // Copy whole arrays; the host's memory stays valid until `done` is called. The first write
  // allocates the array.
  void write(const std::shared_ptr<DeviceArray>& array, const void* from, Done done);
  void read(const std::shared_ptr<DeviceArray>& array, void* to, Done done);
  // Lets go of an array on the thread: freeing memory may wait for the device.
  void release(std::shared_ptr<DeviceArray> array);

 private:
  void enqueue(const std::shared_ptr<DeviceArray>& array, std::function<void()> copy, Done done);
  void copy(void* to, const void* from, size_t bytes);

  const std::shared_ptr<Backend> backend_;
  const std::shared_ptr<Worker> worker_;
  std::unique_ptr<Stream> stream_;  // from the first copy on
};

}  // namespace onehour
