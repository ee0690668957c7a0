// Loading and running programs on a backend's streams. A submission forks from the compute stream
// to the other streams of its program and joins them there again, so submissions follow each other
// whole, and on CUDA the same sequence can be captured as one graph.
#include "executor.h"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "progress.h"

namespace onehour {
namespace {

constexpr size_t kAlignment = 64;  // bytes, of slots
constexpr const char* kPrimaryStream = "compute";

size_t alignUp(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::string megabytes(size_t bytes) { return std::to_string((bytes + 999'999) / 1'000'000); }

bool isSlotted(const std::string& arena) { return arena == "input" || arena == "output"; }

bool touchesSlot(const Instruction& instruction) {
  const auto slotted = [](const Operand& operand) { return isSlotted(operand.arena); };
  return std::any_of(instruction.inputs.begin(), instruction.inputs.end(), slotted) ||
         std::any_of(instruction.outputs.begin(), instruction.outputs.end(), slotted);
}

// Whatever was thrown, as an Error.
Error toError(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error("ERR_MEMORY", "onehour", "out of memory; try a smaller batch");
  } catch (const std::exception& error) {
    return Error("ERR_NATIVE", "onehour", error.what());
  } catch (...) {
    return Error("ERR_NATIVE", "onehour", "an unknown exception");
  }
}

// The error with the program that it came from, where it names the line already.
Error inProgram(const Error& error, const std::string& program) {
  Error named(error.code, error.library, std::string(error.what()) + "\n  in program " + program);
  named.line = error.line;
  named.text = error.text;
  return named;
}

// The error with the program line it came from.
Error locate(const Error& error, const std::string& program, const Instruction& instruction) {
  if (error.line != 0) return inProgram(error, program);
  Error located(error.code, error.library,
                std::string(error.what()) + "\n  program " + program + ", line " +
                    std::to_string(instruction.line) + ": " + instruction.text);
  located.line = instruction.line;
  located.text = instruction.text;
  return located;
}

Program parse(const ProgramText& source) {
  try {
    return parseProgram(source.text);
  } catch (const Error& error) {
    throw inProgram(error, source.name);
  }
}

Error disposedError() {
  return Error("ERR_DISPOSED", "onehour",
               "the executor was disposed; load the programs again to run them");
}

}  // namespace

// A kernel that records its error in the executor, with the line, instead of throwing; after the
// first error of any kernel it does nothing.
class Executor::PreparedKernel final : public Kernel {
 public:
  PreparedKernel(Executor& executor, std::string program, Instruction instruction)
      : executor_(executor), program_(std::move(program)), instruction_(std::move(instruction)) {}

  void prepare(const KernelFactory& factory, PrepareContext& context) {
    kernel_ = factory(instruction_, context);
  }

  void run(Stream& stream) override {
    if (executor_.failed()) return;
    try {
      kernel_->run(stream);
    } catch (...) {
      executor_.fail(locate(toError(std::current_exception()), program_, instruction_));
    }
  }

  size_t workspaceBytes() const override { return kernel_->workspaceBytes(); }
  const Instruction& instruction() const { return instruction_; }

 private:
  Executor& executor_;
  const std::string program_;
  const Instruction instruction_;  // with resolved operands; kernels may refer to it
  std::unique_ptr<Kernel> kernel_;
};

struct Executor::Allocation {
  std::shared_ptr<void> device;
  size_t stride = 0;  // bytes between slots
};

struct Executor::Action {
  enum class Kind { launch, signal, wait };
  Kind kind;
  Stream* stream;
  Event* event = nullptr;
  // One kernel, or one a slot where an operand lies in a slot.
  std::vector<PreparedKernel*> kernels;
};

struct Executor::LoadedProgram {
  struct Branch {
    Stream* stream;
    std::unique_ptr<Event> end;
  };
  std::vector<Action> actions;
  std::vector<std::unique_ptr<PreparedKernel>> kernels;
  std::vector<std::unique_ptr<Event>> events;
  std::unique_ptr<Event> begin;
  std::vector<Branch> branches;  // streams other than the primary one
  bool readsInput = false;
  bool writesOutput = false;
};

struct Executor::Resources {
  size_t available = 0;  // bytes, before anything was allocated
  std::map<std::string, Allocation> arenas;
  std::vector<std::shared_ptr<void>> workspaces;
  // Kernels and events outlive the streams that they were queued on.
  std::unordered_map<std::string, LoadedProgram> programs;
  std::map<std::string, std::unique_ptr<Stream>> streams;
  uint64_t generation = 0;  // of submissions
};

std::shared_ptr<Executor> Executor::create(std::shared_ptr<Backend> backend,
                                           Communicators communicators) {
  return std::shared_ptr<Executor>(new Executor(std::move(backend), std::move(communicators)));
}

Executor::Executor(std::shared_ptr<Backend> backend, Communicators communicators)
    : backend_(std::move(backend)),
      communicators_(std::move(communicators)),
      worker_(std::make_shared<Worker>("oh-submit")) {}

Executor::~Executor() { release(); }

// ---------------------------------------------------------------------------------------- loading

void Executor::load(std::vector<ProgramText> texts, Done done) {
  enqueue(
      [this, texts = std::move(texts), done] {
        std::exception_ptr error;
        try {
          loadNow(texts);
        } catch (...) {
          error = std::make_exception_ptr(toError(std::current_exception()));
          release();
        }
        finish(done, error);
      },
      done);
}

void Executor::loadNow(const std::vector<ProgramText>& texts) {
  std::vector<Program> programs;
  for (const ProgramText& source : texts) {
    Program program = parse(source);
    program.name = source.name;
    for (const Program& other : programs) {
      if (other.name == program.name) {
        throw Error("ERR_PROGRAM", "onehour", "two programs have the name " + program.name);
      }
    }
    programs.push_back(std::move(program));
  }
  resources_ = std::make_unique<Resources>();
  stream(kPrimaryStream);
  allocate(programs);

  // Preparation is itself work of the compute stream: on the CPU its thread then owns the
  // primitives and their thread pool, whose settings belong to a thread.
  struct Preparation final : Kernel {
    std::function<void()> body;
    std::exception_ptr error;
    void run(Stream&) override {
      try {
        body();
      } catch (...) {
        error = std::current_exception();
      }
    }
  } preparation;
  preparation.body = [&] {
    for (const Program& program : programs) prepare(resources_->programs[program.name], program);
  };
  Stream& primary = stream(kPrimaryStream);
  backend_->launch(primary, preparation);
  backend_->synchronize(primary);
  if (preparation.error) std::rethrow_exception(preparation.error);
  bindWorkspaces();

  for (const auto& [name, loaded] : resources_->programs) {
    programs_[name] = loaded.readsInput || loaded.writesOutput;
  }
}

Stream& Executor::stream(const std::string& name) {
  std::unique_ptr<Stream>& entry = resources_->streams[name];
  if (!entry) entry = backend_->createStream(name);
  return *entry;
}

void Executor::allocate(const std::vector<Program>& programs) {
  std::map<std::string, size_t> bytes;
  for (const Program& program : programs) {
    for (const Arena& arena : program.arenas) {
      size_t& largest = bytes[arena.name];
      largest = std::max(largest, arena.bytes);
      slots_ = std::max(slots_, arena.slots);
    }
  }
  for (const auto& [name, size] : bytes) {
    memory_.arenas[name] = isSlotted(name) ? alignUp(size) * static_cast<size_t>(slots_) : size;
    memory_.total += memory_.arenas[name];
  }
  // Taken once: arenas that nothing has touched yet may still count as available later.
  resources_->available = backend_->availableBytes().value_or(backend_->properties().memoryBytes);
  checkMemory();
  for (const auto& [name, total] : memory_.arenas) {
    Allocation& allocation = resources_->arenas[name];
    allocation.stride = alignUp(bytes[name]);
    if (isSlotted(name)) {
      const std::shared_ptr<void> host = backend_->allocate(total, MemoryKind::host);
      slotMemory_[name] = {host, bytes[name]};
      if (backend_->hostMemoryIsDeviceMemory()) {
        allocation.device = host;
        continue;
      }
    }
    allocation.device = backend_->allocate(total, MemoryKind::device);
  }
  busy_.assign(static_cast<size_t>(slots_), false);
}

void Executor::prepare(LoadedProgram& loaded, const Program& program) {
  loaded.begin = backend_->createEvent();
  std::unordered_map<int64_t, Event*> events;
  for (const Instruction& instruction : program.instructions) {
    if (failed()) std::rethrow_exception(failure());
    Stream& target = stream(instruction.stream);
    const bool known = instruction.stream == kPrimaryStream ||
                       std::any_of(loaded.branches.begin(), loaded.branches.end(),
                                   [&](const auto& branch) { return branch.stream == &target; });
    if (!known) loaded.branches.push_back({&target, backend_->createEvent()});

    if (instruction.op == "signal" || instruction.op == "wait") {
      Event*& event = events[instruction.integer("event")];
      if (event == nullptr) {
        event = loaded.events.emplace_back(backend_->createEvent()).get();
      }
      const auto kind = instruction.op == "signal" ? Action::Kind::signal : Action::Kind::wait;
      loaded.actions.push_back({kind, &target, event, {}});
      continue;
    }
    const bool slotted = touchesSlot(instruction);
    Action action{Action::Kind::launch, &target, nullptr, {}};
    for (int slot = 0; slot < (slotted ? slots_ : 1); ++slot) {
      loaded.kernels.push_back(prepareKernel(program.name, instruction, slot));
      action.kernels.push_back(loaded.kernels.back().get());
      progress::advance();
    }
    loaded.actions.push_back(std::move(action));
    for (const Operand& operand : instruction.inputs) loaded.readsInput |= operand.arena == "input";
    for (const Operand& operand : instruction.outputs) {
      loaded.writesOutput |= operand.arena == "output";
    }
  }
}

std::unique_ptr<Executor::PreparedKernel> Executor::prepareKernel(const std::string& program,
                                                                  const Instruction& instruction,
                                                                  int slot) {
  Instruction resolved = instruction;
  for (auto* side : {&resolved.inputs, &resolved.outputs}) {
    for (Operand& operand : *side) {
      const Allocation& arena = resources_->arenas.at(operand.arena);
      const size_t shift = isSlotted(operand.arena) ? arena.stride * static_cast<size_t>(slot) : 0;
      operand.data = static_cast<uint8_t*>(arena.device.get()) + shift + operand.offset;
    }
  }
  PrepareContext context{*backend_, [this](std::string_view name) -> Communicator& {
                           const auto found = communicators_.find(std::string(name));
                           if (found == communicators_.end()) {
                             throw Error(
                                 "ERR_COLLECTIVE", "onehour",
                                 "the program communicates over \"" + std::string(name) +
                                     "\", but no communicator of that name was given to load()");
                           }
                           return *found->second;
                         }};
  auto kernel = std::make_unique<PreparedKernel>(*this, program, std::move(resolved));
  try {
    const auto entry = backend_->kernels().find(instruction.op);
    if (entry == backend_->kernels().end()) {
      throw Error(
          "ERR_KERNEL", "onehour",
          "the backend " + backend_->properties().kind + " has no kernel for " + instruction.op);
    }
    kernel->prepare(entry->second, context);
  } catch (...) {
    throw locate(toError(std::current_exception()), program, instruction);
  }
  return kernel;
}

void Executor::checkMemory() const {
  if (memory_.total <= resources_->available) return;
  throw Error("ERR_MEMORY", "onehour",
              "cannot allocate " + megabytes(memory_.total) +
                  " MB for the programs: " + megabytes(resources_->available) +
                  " MB are available; try a smaller --batch, or fewer --workers on this machine");
}

void Executor::bindWorkspaces() {
  std::map<Stream*, size_t> largest;
  for (const auto& [name, program] : resources_->programs) {
    for (const Action& action : program.actions) {
      for (const PreparedKernel* kernel : action.kernels) {
        size_t& bytes = largest[action.stream];
        bytes = std::max(bytes, kernel->workspaceBytes());
      }
    }
  }
  for (const auto& [name, stream] : resources_->streams) {
    const size_t bytes = largest[stream.get()];
    if (bytes == 0) continue;
    memory_.workspaces[name] = bytes;
    memory_.total += bytes;
  }
  checkMemory();
  for (const auto& [name, bytes] : memory_.workspaces) {
    resources_->streams.at(name)->bindWorkspace(
        resources_->workspaces.emplace_back(backend_->allocate(bytes, MemoryKind::device)).get());
  }
}

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

void Executor::submit(const std::string& program, int slot, Done done) {
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
  if (slotted) {
    const std::lock_guard lock(mutex_);
    if (busy_[static_cast<size_t>(slot)]) {
      throw Error("ERR_USAGE", "onehour",
                  "slot " + std::to_string(slot) +
                      " is still in flight; await its submission or use another slot");
    }
    busy_[static_cast<size_t>(slot)] = true;
    done = [this, slot, done = std::move(done)](std::exception_ptr error) {
      {
        const std::lock_guard guard(mutex_);
        busy_[static_cast<size_t>(slot)] = false;
      }
      done(std::move(error));
    };
  }
  enqueue([this, program, slot, done] { run(resources_->programs.at(program), slot, done); }, done);
}

void Executor::run(const LoadedProgram& program, int slot, const Done& done) {
  try {
    if (failed()) return finish(done, failure());
    const uint64_t generation = ++resources_->generation;
    Stream& primary = stream(kPrimaryStream);
    const bool copies = !backend_->hostMemoryIsDeviceMemory();
    const auto copySlot = [&](const char* arena, bool toDevice) {
      const Allocation& allocation = resources_->arenas.at(arena);
      void* device = static_cast<uint8_t*>(allocation.device.get()) +
                     allocation.stride * static_cast<size_t>(slot);
      void* host = this->slot(arena, slot).get();
      backend_->copy(primary, toDevice ? device : host, toDevice ? host : device, slotBytes(arena));
    };
    if (copies && program.readsInput) copySlot("input", true);

    if (!program.branches.empty()) backend_->signal(primary, *program.begin, generation);
    for (const auto& branch : program.branches) {
      backend_->wait(*branch.stream, *program.begin, generation);
    }
    for (const Action& action : program.actions) {
      switch (action.kind) {
        case Action::Kind::launch:
          backend_->launch(
              *action.stream,
              *action.kernels[action.kernels.size() == 1 ? 0 : static_cast<size_t>(slot)]);
          break;
        case Action::Kind::signal:
          backend_->signal(*action.stream, *action.event, generation);
          break;
        case Action::Kind::wait:
          backend_->wait(*action.stream, *action.event, generation);
          break;
      }
    }
    for (const auto& branch : program.branches) {
      backend_->signal(*branch.stream, *branch.end, generation);
      backend_->wait(primary, *branch.end, generation);
    }
    if (copies && program.writesOutput) copySlot("output", false);
    finishAfterPrimary(done);
  } catch (...) {
    fail(toError(std::current_exception()));
    finish(done, failure());
  }
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
                    " are outside arena " + arena + " of " + std::to_string(bytes) + " bytes");
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

void Executor::read(const std::string& arena, size_t offset, size_t length, DoneReading done) {
  checkRange(arena, offset, length);
  const auto held = std::make_shared<std::vector<uint8_t>>(length);
  transfer(
      [this, arena, offset, held](Stream& primary) {
        backend_->copy(primary, held->data(), arenaAddress(arena, offset), held->size());
      },
      [held, done = std::move(done)](std::exception_ptr error) {
        done(error, error ? std::vector<uint8_t>() : std::move(*held));
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

void Executor::finishAfterPrimary(const Done& done) {
  backend_->callback(stream(kPrimaryStream), [this, done](std::exception_ptr error) {
    if (error) fail(toError(error));
    finish(done, failed() ? failure() : nullptr);
  });
}

// --------------------------------------------------------------------------------- errors and end

void Executor::enqueue(std::function<void()> job, const Done& done) {
  inFlight_.fetch_add(1);
  const bool queued = !closed_.load() &&
                      worker_->post([self = shared_from_this(), job = std::move(job)] { job(); });
  if (!queued) finish(done, std::make_exception_ptr(disposedError()));
}

void Executor::finish(const Done& done, std::exception_ptr error) {
  inFlight_.fetch_sub(1);
  done(std::move(error));
}

void Executor::fail(const Error& error) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (first_) return;
    first_ = error;
    failed_.store(true, std::memory_order_release);
  }
  for (const auto& [name, communicator] : communicators_) communicator->abort();
}

std::exception_ptr Executor::failure() const {
  const std::lock_guard lock(mutex_);
  return std::make_exception_ptr(*first_);
}

void Executor::dispose() noexcept {
  if (closed_.exchange(true)) return;
  if (inFlight_.load() > 0) fail(disposedError());
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
}

}  // namespace onehour
