// Runs loaded programs: owns arenas, streams, events and prepared kernels of one device, takes
// submissions in order without blocking the caller and reports each one's end.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend.h"
#include "error.h"
#include "in-flight.h"
#include "worker.h"

namespace onehour {

struct ProgramText {
  std::string name;
  std::string text;
};

class Executor : public std::enable_shared_from_this<Executor> {
 public:
  using Communicators = std::unordered_map<std::string, std::shared_ptr<Communicator>>;
  // Called once, from a native thread, with the error or null.
  using Done = InFlight::Done;
  using DoneReading = std::function<void(std::exception_ptr, std::vector<uint8_t>)>;
  // With why nothing is replayed; empty when everything is.
  using DoneRecording = std::function<void(std::exception_ptr, std::string)>;

  // How long an instruction took.
  struct Timing {
    int line = 0;                      // of the program text
    std::vector<double> milliseconds;  // one a repeat
  };
  using DoneMeasuring = std::function<void(std::exception_ptr, std::vector<Timing>)>;

  // When a program ran.
  struct Trace {
    double began = 0;  // milliseconds of the host's steady clock
    // Begin and end of each instruction, waits and signals too, in the order of the text:
    // milliseconds from `began`.
    std::vector<double> times;
  };
  using DoneTracing = std::function<void(std::exception_ptr, Trace)>;

  struct Memory {
    std::map<std::string, size_t> arenas;      // bytes, all slots
    std::map<std::string, size_t> workspaces;  // bytes by stream
    size_t total = 0;
  };

  static std::shared_ptr<Executor> create(std::shared_ptr<Backend> backend,
                                          Communicators communicators);
  ~Executor();

  // Parses, allocates (each arena the largest that a program asks for) and prepares. First call.
  void load(std::vector<ProgramText> texts, Done done);

  // After `load` succeeded.
  const Memory& memory() const { return memory_; }
  int slots() const { return slots_; }
  size_t slotBytes(const std::string& arena) const;
  // Host memory of a slot of input or output; outlives the executor.
  std::shared_ptr<void> slot(const std::string& arena, int index) const;

  // Runs a program on a slot after everything submitted before. Throws ERR_USAGE for an unknown
  // program, a slot out of range, or one that is still in flight.
  void submit(const std::string& program, int slot, Done done);
  // The same, kernel by kernel even where the program was recorded, with a mark before and after
  // each line. A wait lasts as long as its stream waited.
  void trace(const std::string& program, int slot, DoneTracing done);
  // Copy to and from an arena other than input and output, when everything submitted before is
  // done.
  void write(const std::string& arena, size_t offset, std::vector<uint8_t> bytes, Done done);
  void read(const std::string& arena, size_t offset, size_t length, DoneReading done);

  // Records every program and slot, to be replayed from then on. It is no error if the device or a
  // kernel cannot be recorded: programs then run kernel by kernel as before.
  void record(DoneRecording done);
  // Goes back to running kernel by kernel.
  void forget(Done done);
  // Runs a program `repeats` times, one kernel after the other on what the arenas hold, and
  // measures each.
  void measure(const std::string& program, int slot, int repeats, DoneMeasuring done);

  // Ends pending and later work with this error; blocked collectives are aborted. From any thread.
  void fail(const Error& error) noexcept { inFlight_->fail(error); }
  // Refuses new work, ends pending work with ERR_DISPOSED and frees everything on the executor's
  // own thread. May be repeated.
  void dispose() noexcept;
  const std::shared_ptr<Worker>& worker() const { return worker_; }

 private:
  class PreparedKernel;
  struct Allocation;
  struct Action;
  struct LoadedProgram;
  struct Marks;
  class MarkPool;
  struct Resources;

  Executor(std::shared_ptr<Backend> backend, Communicators communicators);

  void loadNow(const std::vector<ProgramText>& texts);
  void allocate(const std::vector<Program>& programs);
  void anticipate(const Instruction& instruction, PrepareContext& context) const;
  void prepare(LoadedProgram& loaded, const Program& program, PrepareContext& context);
  void orderCollectives(LoadedProgram& loaded);
  void checkMemory() const;
  void bindWorkspaces();
  // Refuses what cannot be submitted and takes the slot, which `done` then leaves.
  Done admit(const std::string& program, int slot, Done done) const;
  // With marks, it runs kernel by kernel between them.
  void run(LoadedProgram& program, int slot, Marks* marks, const Done& done);
  void enqueueActions(LoadedProgram& program, int slot, uint64_t generation, Marks* marks);
  std::unique_ptr<Marks> createMarks(const LoadedProgram& program) const;
  void copySlot(Stream& stream, const char* arena, int slot, bool toDevice);
  void upload(int slot, uint64_t generation);
  bool recordAll();
  void forgetNow();
  std::vector<Timing> measureNow(LoadedProgram& program, int slot, int repeats);
  std::unique_ptr<PreparedKernel> prepareKernel(const std::string& program,
                                                const Instruction& instruction, int slot,
                                                PrepareContext& context);
  Stream& stream(const std::string& name);
  void checkRange(const std::string& arena, size_t offset, size_t length) const;
  void* arenaAddress(const std::string& arena, size_t offset) const;
  // Queues a copy on the primary stream; `done` follows it.
  void transfer(std::function<void(Stream&)> copy, Done done);
  // Queues a job that may throw.
  void enqueueJob(std::function<void()> job, Done done);
  void finishAfterPrimary(const Done& done);
  void release() noexcept;
  bool failed() const { return inFlight_->failed(); }
  std::exception_ptr failure() const { return inFlight_->failure(); }
  void finish(const Done& done, std::exception_ptr error) { inFlight_->finish(done, error); }
  // Counts work in flight and queues it; when the executor is closed, ends it with ERR_DISPOSED.
  void enqueue(std::function<void()> job, const Done& done);

  const std::shared_ptr<Backend> backend_;
  const Communicators communicators_;
  const std::shared_ptr<InFlight> inFlight_;
  const std::shared_ptr<Worker> worker_;

  struct SlotMemory {
    std::shared_ptr<void> memory;  // of all slots, on the host
    size_t bytes;                  // of one slot
  };

  std::unique_ptr<Resources> resources_;  // touched by the worker only
  bool recording_ = false;                // likewise: kernels then throw instead of failing the run
  // Written by the worker while loading, constant afterwards.
  Memory memory_;
  int slots_ = 1;
  std::map<std::string, SlotMemory> slotMemory_;
  std::map<std::string, bool> programs_;  // whether they touch a slot

  std::atomic<bool> closed_{false};
};

}  // namespace onehour
