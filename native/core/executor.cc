// Running loaded programs on a backend's streams. A submission forks from the compute stream to the
// other streams of its program and joins them there again, so submissions follow each other whole,
// and on CUDA the same sequence can be captured as one graph.
#include "executor.h"

#include <utility>

#include "executor-resources.h"
#include "words.h"

namespace onehour {
namespace {

Error disposedError() {
  return Error("ERR_DISPOSED", "onehour",
               "the executor was disposed; load the programs again to run them");
}

std::vector<std::weak_ptr<Communicator>> weaklyOf(const Executor::Communicators& communicators) {
  std::vector<std::weak_ptr<Communicator>> result;
  for (const auto& [name, communicator] : communicators) result.push_back(communicator);
  return result;
}

}  // namespace

std::shared_ptr<Executor> Executor::create(std::shared_ptr<Backend> backend,
                                           Communicators communicators) {
  return std::shared_ptr<Executor>(new Executor(std::move(backend), std::move(communicators)));
}

Executor::Executor(std::shared_ptr<Backend> backend, Communicators communicators)
    : backend_(std::move(backend)),
      communicators_(std::move(communicators)),
      inFlight_(std::make_shared<InFlight>(weaklyOf(communicators_))),
      worker_(std::make_shared<Worker>("oh-submit")) {}

Executor::~Executor() { release(); }

// ---------------------------------------------------------------------------------------- running

size_t Executor::slotBytes(const std::string& arena) const {
  const auto found = slotMemory_.find(arena);
  return found == slotMemory_.end() ? 0 : found->second.bytes;
}

std::shared_ptr<void> Executor::slot(const std::string& arena, int index) const {
  const auto found = slotMemory_.find(arena);
  if (found == slotMemory_.end() || index < 0 || index >= slots_) {
    throw Error("ERR_USAGE", "onehour",
                "there is no " + arena + " slot " + std::to_string(index) + "; the programs have " +
                    std::to_string(slots_) + " slots, from 0");
  }
  const auto& [memory, bytes] = found->second;
  return {memory,
          static_cast<uint8_t*>(memory.get()) + alignUp(bytes) * static_cast<size_t>(index)};
}

Executor::Done Executor::admit(const std::string& program, int slot, Done done) const {
  const auto found = programs_.find(program);
  if (found == programs_.end()) {
    std::string known;
    for (const auto& [name, slotted] : programs_) known += (known.empty() ? "" : ", ") + name;
    throw Error("ERR_USAGE", "onehour",
                "no program \"" + program + "\" is loaded, expected one of: " + known);
  }
  if (slot < 0 || slot >= slots_) {
    throw Error(
        "ERR_USAGE", "onehour",
        "slot " + std::to_string(slot) + " of " + std::to_string(slots_) + "; slots count from 0");
  }
  const bool slotted = found->second;
  if (!slotted) return done;
  if (!inFlight_->take(slot)) {
    throw Error("ERR_USAGE", "onehour",
                "slot " + std::to_string(slot) +
                    " is still in flight; await its submission or use another slot");
  }
  return [inFlight = inFlight_, slot, done = std::move(done)](std::exception_ptr error) {
    inFlight->leave(slot);
    done(std::move(error));
  };
}

void Executor::submit(const std::string& program, int slot, Done done) {
  done = admit(program, slot, std::move(done));
  enqueue(
      [this, program, slot, done] { run(resources_->programs.at(program), slot, nullptr, done); },
      done);
}

void Executor::run(LoadedProgram& program, int slot, Marks* marks, const Done& done) {
  try {
    if (failed()) return finish(done, failure());
    const uint64_t generation = ++resources_->generation;
    Stream& primary = stream(kPrimaryStream);
    if (marks) backend_->mark(primary, *marks->begin);
    const bool copies = !backend_->hostMemoryIsDeviceMemory();
    if (copies && program.readsInput) upload(slot, generation);
    if (marks || program.recordings.empty()) {
      enqueueActions(program, slot, generation, marks);
    } else {
      backend_->launch(primary, forSlot(program.recordings, slot));
    }
    if (copies && program.writesOutput) copySlot(primary, "output", slot, false);
    if (marks) backend_->mark(primary, *marks->end);
    finishAfterPrimary(done);
  } catch (...) {
    fail(toError(std::current_exception()));
    finish(done, failure());
  }
}

void Executor::enqueueActions(LoadedProgram& program, int slot, uint64_t generation, Marks* marks) {
  Stream& primary = stream(kPrimaryStream);
  if (!program.branches.empty()) backend_->signal(primary, *program.begin, generation);
  for (const auto& branch : program.branches) {
    backend_->wait(*branch.stream, *program.begin, generation);
  }
  size_t at = 0;  // in the marks
  for (const Action& action : program.actions) {
    const bool isMarked = marks && action.line != 0;
    if (isMarked) backend_->mark(*action.stream, *marks->lines[at++]);
    switch (action.kind) {
      case Action::Kind::launch:
        backend_->launch(*action.stream, forSlot(action.kernels, slot));
        break;
      case Action::Kind::signal:
        backend_->signal(*action.stream, *action.event, generation);
        break;
      case Action::Kind::wait:
        backend_->wait(*action.stream, *action.event, generation);
        break;
    }
    if (isMarked) backend_->mark(*action.stream, *marks->lines[at++]);
  }
  for (const auto& branch : program.branches) {
    backend_->signal(*branch.stream, *branch.end, generation);
    backend_->wait(primary, *branch.end, generation);
  }
}

void Executor::copySlot(Stream& stream, const char* arena, int slot, bool toDevice) {
  const Allocation& allocation = resources_->arenas.at(arena);
  void* device = static_cast<uint8_t*>(allocation.device.get()) +
                 allocation.stride * static_cast<size_t>(slot);
  void* host = this->slot(arena, slot).get();
  backend_->copy(stream, toDevice ? device : host, toDevice ? host : device, slotBytes(arena));
}

// On a stream of its own, so that a step's images arrive while the step before it computes; the
// slot is free, since its last submission has ended.
void Executor::upload(int slot, uint64_t generation) {
  Stream& copies = stream(kCopyStream);
  std::unique_ptr<Event>& arrived = resources_->arrived[slot];
  if (!arrived) arrived = backend_->createEvent();
  copySlot(copies, "input", slot, true);
  backend_->signal(copies, *arrived, generation);
  backend_->wait(stream(kPrimaryStream), *arrived, generation);
}

void* Executor::arenaAddress(const std::string& arena, size_t offset) const {
  const auto found = resources_->arenas.find(arena);
  return found == resources_->arenas.end()
             ? nullptr
             : static_cast<uint8_t*>(found->second.device.get()) + offset;
}

void Executor::checkRange(const std::string& arena, size_t offset, size_t length) const {
  if (isSlotted(arena)) {
    throw Error("ERR_USAGE", "onehour",
                "arena " + arena + " has slots; use " + arena + "(slot) to reach its memory");
  }
  const auto found = memory_.arenas.find(arena);
  const size_t bytes = found == memory_.arenas.end() ? 0 : found->second;
  if (length > bytes || offset > bytes - length) {
    throw Error("ERR_USAGE", "onehour",
                "bytes " + std::to_string(offset) + " to " + std::to_string(offset + length) +
                    " are outside arena " + arena + " of " + counted(bytes, "byte"));
  }
}

void Executor::write(const std::string& arena, size_t offset, std::vector<uint8_t> bytes,
                     Done done) {
  checkRange(arena, offset, bytes.size());
  const auto held = std::make_shared<std::vector<uint8_t>>(std::move(bytes));
  transfer(
      [this, arena, offset, held](Stream& primary) {
        backend_->copy(primary, arenaAddress(arena, offset), held->data(), held->size());
      },
      // The copy is asynchronous, so the bytes live as long as its callback.
      [held, done = std::move(done)](std::exception_ptr error) { done(std::move(error)); });
}

// The device copies asynchronously only into host memory that the backend allocated; with other
// memory the submission thread would wait for the copy, and so would the work queued after it. That
// memory is kept, even when a read fails: to free it the device would have to stop, and it may
// still write to it.
void Executor::read(const std::string& arena, size_t offset, size_t length, DoneReading done) {
  checkRange(arena, offset, length);
  const bool direct = backend_->hostMemoryIsDeviceMemory();
  struct Reading {
    std::vector<uint8_t> bytes;
    InFlight::HostMemory staging;
  };
  const auto held = std::make_shared<Reading>();
  transfer(
      [this, arena, offset, length, direct, held](Stream& primary) {
        if (direct) {
          held->bytes.resize(length);
        } else {
          held->staging = inFlight_->reuse(length);
          if (!held->staging.memory) {
            held->staging = {backend_->allocate(length, MemoryKind::host), length};
          }
        }
        void* to = direct ? held->bytes.data() : held->staging.memory.get();
        backend_->copy(primary, to, arenaAddress(arena, offset), length);
      },
      [inFlight = inFlight_, length, direct, held,
       done = std::move(done)](std::exception_ptr error) {
        if (!error && !direct) {
          const auto* from = static_cast<const uint8_t*>(held->staging.memory.get());
          held->bytes.assign(from, from + length);
        }
        if (held->staging.memory) inFlight->giveBack(std::move(held->staging));
        done(error, error ? std::vector<uint8_t>() : std::move(held->bytes));
      });
}

void Executor::transfer(std::function<void(Stream&)> copy, Done done) {
  enqueue(
      [this, copy = std::move(copy), done] {
        try {
          if (failed()) return finish(done, failure());
          copy(stream(kPrimaryStream));
          finishAfterPrimary(done);
        } catch (...) {
          fail(toError(std::current_exception()));
          finish(done, failure());
        }
      },
      done);
}

void Executor::enqueueJob(std::function<void()> job, Done done) {
  enqueue(
      [this, job = std::move(job), done] {
        std::exception_ptr error;
        try {
          if (failed()) std::rethrow_exception(failure());
          job();
        } catch (...) {
          error = std::make_exception_ptr(toError(std::current_exception()));
        }
        finish(done, error);
      },
      done);
}

void Executor::finishAfterPrimary(const Done& done) {
  const auto finish = [inFlight = inFlight_, done](std::exception_ptr error) {
    if (error) inFlight->fail(toError(error));
    inFlight->finish(done, inFlight->failed() ? inFlight->failure() : nullptr);
  };
  backend_->callback(stream(kPrimaryStream), finish);
}

// --------------------------------------------------------------------------------- errors and end

void Executor::enqueue(std::function<void()> job, const Done& done) {
  inFlight_->begin();
  const bool queued = !closed_.load() &&
                      worker_->post([self = shared_from_this(), job = std::move(job)] { job(); });
  if (!queued) finish(done, std::make_exception_ptr(disposedError()));
}

void Executor::dispose() noexcept {
  if (closed_.exchange(true)) return;
  if (inFlight_->any()) fail(disposedError());
  worker_->post([self = shared_from_this()] { self->release(); });
  worker_->stop();
}

void Executor::release() noexcept {
  if (!resources_) return;
  for (const auto& [name, stream] : resources_->streams) {
    try {
      backend_->synchronize(*stream);
    } catch (...) {  // reported to the submission that it belongs to
    }
  }
  resources_.reset();
  inFlight_->forgetMemory();
}

}  // namespace onehour
