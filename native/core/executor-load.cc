// Loading: programs are parsed, their arenas allocated, and each instruction prepared as a kernel.
#include <algorithm>
#include <utility>

#include "executor-resources.h"
#include "progress.h"

namespace onehour {
namespace {

bool touchesSlot(const Instruction& instruction) {
  const auto slotted = [](const Operand& operand) { return isSlotted(operand.arena); };
  return std::any_of(instruction.inputs.begin(), instruction.inputs.end(), slotted) ||
         std::any_of(instruction.outputs.begin(), instruction.outputs.end(), slotted);
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

}  // namespace

void Executor::PreparedKernel::run(Stream& stream) {
  if (executor_.failed()) return;
  try {
    kernel_->run(stream);
  } catch (...) {
    const Error error = locate(toError(std::current_exception()), program_, instruction_);
    if (executor_.recording_) throw error;
    executor_.fail(error);
  }
}

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
  preparation.body = [&] {
    for (const Program& program : programs) {
      for (const Instruction& instruction : program.instructions) anticipate(instruction, context);
    }
    for (const Program& program : programs) {
      prepare(resources_->programs[program.name], program, context);
    }
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

void Executor::anticipate(const Instruction& instruction, PrepareContext& context) const {
  const auto entry = backend_->kernels().find(instruction.op);
  if (entry == backend_->kernels().end() || entry->second.anticipate == nullptr) return;
  try {
    expectOperands(instruction, entry->second.signature);
    entry->second.anticipate(instruction, context);
  } catch (const std::exception&) {  // preparing it gives the error with its line
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
    allocation.device =
        backend_->allocate(total, name == "grad" ? MemoryKind::collective : MemoryKind::device);
  }
  inFlight_->setSlots(slots_);
}

void Executor::prepare(LoadedProgram& loaded, const Program& program, PrepareContext& context) {
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
      loaded.actions.push_back({kind, instruction.line, &target, event, {}});
      continue;
    }
    const bool slotted = touchesSlot(instruction);
    Action action{Action::Kind::launch, instruction.line, &target, nullptr, {}};
    action.communicates = instruction.findAttribute("communicator") != nullptr;
    for (int slot = 0; slot < (slotted ? slots_ : 1); ++slot) {
      loaded.kernels.push_back(prepareKernel(program.name, instruction, slot, context));
      action.kernels.push_back(loaded.kernels.back().get());
      progress::advance();
    }
    loaded.actions.push_back(std::move(action));
    for (const Operand& operand : instruction.inputs) loaded.readsInput |= operand.arena == "input";
    for (const Operand& operand : instruction.outputs) {
      loaded.writesOutput |= operand.arena == "output";
    }
  }
  if (!backend_->ordersCollectives()) orderCollectives(loaded);
}

// Makes each collective wait, by an event, for the one before it in the text where that is on
// another stream. Submissions run one after the other, so this orders all collectives.
void Executor::orderCollectives(LoadedProgram& loaded) {
  std::vector<Action> ordered;
  size_t after = 0;  // the position after the last collective, 0 before the first
  for (Action& action : loaded.actions) {
    if (action.communicates && after > 0 && ordered[after - 1].stream != action.stream) {
      Event* ended = loaded.events.emplace_back(backend_->createEvent()).get();
      const Action signal{Action::Kind::signal, 0, ordered[after - 1].stream, ended, {}};
      ordered.insert(ordered.begin() + static_cast<std::ptrdiff_t>(after), signal);
      ordered.push_back({Action::Kind::wait, 0, action.stream, ended, {}});
    }
    ordered.push_back(std::move(action));
    if (ordered.back().communicates) after = ordered.size();
  }
  loaded.actions = std::move(ordered);
}

std::unique_ptr<Executor::PreparedKernel> Executor::prepareKernel(const std::string& program,
                                                                  const Instruction& instruction,
                                                                  int slot,
                                                                  PrepareContext& context) {
  Instruction resolved = instruction;
  for (auto* side : {&resolved.inputs, &resolved.outputs}) {
    for (Operand& operand : *side) {
      const Allocation& arena = resources_->arenas.at(operand.arena);
      const size_t shift = isSlotted(operand.arena) ? arena.stride * static_cast<size_t>(slot) : 0;
      operand.data = static_cast<uint8_t*>(arena.device.get()) + shift + operand.offset;
    }
  }
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
  throw outOfMemory("onehour", memory_.total, resources_->available, " for the programs");
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

}  // namespace onehour
