// What a backend must provide: memory, copies, streams, events, communicators and a table of
// kernels by op name. Everything above this interface (parsing, execution, the addon) is shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeindex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "library-versions.h"
#include "program.h"
#include "signature.h"

namespace onehour {

class Backend;

// An in-order queue of work on the device. On the CPU one thread with a FIFO, on CUDA a
// cudaStream_t. Kernels are launched from the executor's submission thread or from the stream's own
// thread, as the backend likes; a kernel only sees the stream it runs on.
class Stream {
 public:
  virtual ~Stream() = default;

  // Scratch memory shared by all kernels of this stream, at least as large as the largest
  // `Kernel::workspaceBytes` among them, 64-byte aligned.
  void* workspace() const { return workspace_; }
  void bindWorkspace(void* memory) { workspace_ = memory; }

 private:
  void* workspace_ = nullptr;
};

// One prepared instruction: descriptors, plans and pointers are resolved, `run` only launches.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(Stream& stream) = 0;
  virtual size_t workspaceBytes() const { return 0; }
};

// A kernel from a callable `void(Stream&)`.
template <typename Body>
std::unique_ptr<Kernel> makeKernel(Body body, size_t workspaceBytes = 0) {
  struct Callable final : Kernel {
    Callable(Body body, size_t bytes) : body(std::move(body)), bytes(bytes) {}
    void run(Stream& stream) override { body(stream); }
    size_t workspaceBytes() const override { return bytes; }
    Body body;
    size_t bytes;
  };
  return std::make_unique<Callable>(std::move(body), workspaceBytes);
}

// A group of ranks that communicates. `address` bytes of all ranks are exchanged by the caller
// (TypeScript's rendezvous) and handed to `connect` in rank order. While that returns false, the
// ranks need another round: all exchange what `address` returns now, and call again.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::vector<uint8_t> address() const = 0;
  virtual bool connect(const std::vector<std::vector<uint8_t>>& addresses) = 0;  // blocks
  virtual void allReduce(void* data, size_t count, DataType type) = 0;  // sum, in place; blocks
  virtual void broadcast(void* data, size_t bytes, int root) = 0;       // blocks
  virtual void allGather(const void* input, void* output,
                         size_t bytes) = 0;  // bytes a rank; blocks
  virtual void barrier() = 0;                // blocks
  virtual void abort() noexcept = 0;         // from any thread: blocked and later calls throw
  // A sentence for the user about what its library cannot do here; empty where there is none.
  virtual std::string remark() const { return {}; }
  // How it is connected to another rank of the group, e.g. "shared memory"; empty where the library
  // does not say.
  virtual std::string linkTo(int /*peer*/) const { return {}; }
};

// What a kernel factory may use while it prepares an instruction.
struct PrepareContext {
  Backend& backend;
  // The communicator that an instruction names, e.g. "gradients" or "statistics"; throws when the
  // program communicates and nothing was connected under that name.
  std::function<Communicator&(std::string_view name)> communicator;

  // What the factories of one load share, made from this when it is first asked for.
  template <typename State>
  State& shared() {
    std::shared_ptr<void>& state = states[typeid(State)];
    if (!state) state = std::make_shared<State>(*this);
    return *static_cast<State*>(state.get());
  }
  std::unordered_map<std::type_index, std::shared_ptr<void>> states = {};
};

using KernelFactory = std::unique_ptr<Kernel> (*)(const Instruction&, PrepareContext&);

// What a backend has for an op.
struct KernelEntry {
  std::string_view signature;  // see signature.h
  KernelFactory factory;       // gets operands that fit the signature
  int launches = 1;            // kernels that an instruction starts on the device, at most
  // Begins what the factory will wait for, where that takes long. Called for all instructions of a
  // load before the first of them is prepared; what it throws the factory reports.
  void (*anticipate)(const Instruction&, PrepareContext&) = nullptr;

  // The kernel of an instruction, once its operands were checked.
  std::unique_ptr<Kernel> prepare(const Instruction& instruction, PrepareContext& context) const {
    expectOperands(instruction, signature);
    return factory(instruction, context);
  }
};
using KernelTable = std::unordered_map<std::string_view, KernelEntry>;

// An event of the program text: signalled by one stream, awaited by others. Reset between steps by
// generation: `signal` and `wait` carry the number of the submission they belong to.
class Event {
 public:
  virtual ~Event() = default;
};

struct DeviceProperties {
  std::string name;         // e.g. "AMD EPYC"
  std::string kind;         // "cpu" or "cuda"
  int threads = 0;          // compute threads (CPU)
  size_t memoryBytes = 0;   // physical memory of the device
  bool bf16 = false;        // bf16 arithmetic is fast here
  int channelMultiple = 1;  // image channels are zero-padded to a multiple of this
  std::string driver;       // the newest CUDA that the driver serves, e.g. "12.8" (CUDA)
};

// The device's own memory, the same for collectives that run on it whole, and memory of the host
// that the device copies from and to. All are the same on the CPU.
enum class MemoryKind { device, collective, host };

// A point in time on a stream.
class Mark {
 public:
  virtual ~Mark() = default;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual DeviceProperties properties() const = 0;
  virtual const KernelTable& kernels() const = 0;

  // 64-byte aligned and zero-filled. Throws with the figure asked for and what is available.
  virtual std::shared_ptr<void> allocate(size_t bytes, MemoryKind kind) = 0;

  // Bytes that may be allocated now, within the limits of the machine and of the process; nothing
  // when unknown. Memory that was allocated and never touched may still count as available.
  virtual std::optional<size_t> availableBytes() const { return std::nullopt; }

  virtual std::unique_ptr<Stream> createStream(const std::string& name) = 0;
  virtual std::unique_ptr<Event> createEvent() = 0;
  // Enqueue on a stream, from the executor's submission thread, in program order: a `wait` is
  // enqueued after the `signal` of the same generation. Work enqueued here must stay valid until it
  // has run. The executor's kernels never throw on the CPU (they record the error and skip the rest
  // of the step), so signals always arrive. `callback` runs on a native thread when all earlier
  // work of the stream is done, with the stream's first error or null; it must not throw.
  virtual void launch(Stream& stream, Kernel& kernel) = 0;
  virtual void signal(Stream& stream, Event& event, uint64_t generation) = 0;
  virtual void wait(Stream& stream, Event& event, uint64_t generation) = 0;
  virtual void copy(Stream& stream, void* to, const void* from, size_t bytes) = 0;
  virtual void callback(Stream& stream, std::function<void(std::exception_ptr)> done) = 0;
  virtual void synchronize(Stream& stream) = 0;  // blocks; rethrows the stream's first error

  // Time as the device measures it. `milliseconds` may be called when the streams of both marks
  // have been synchronised.
  virtual std::unique_ptr<Mark> createMark() = 0;
  virtual void mark(Stream& stream, Mark& mark) = 0;
  virtual double milliseconds(const Mark& from, const Mark& to) const = 0;

  // Records what `enqueue` puts on `primary` and on streams that fork from it and join it again,
  // and returns one kernel that replays it; nothing runs yet. Null where the device cannot record.
  virtual std::unique_ptr<Kernel> record(Stream& /*primary*/,
                                         const std::function<void()>& /*enqueue*/) {
    return nullptr;
  }

  // `acrossHosts`: some of the ranks that this process works with are on other machines. `name`:
  // what programs call it.
  virtual std::unique_ptr<Communicator> createCommunicator(int rank, int size,
                                                           double timeoutSeconds,
                                                           bool acrossHosts = false,
                                                           const std::string& name = "") = 0;

  // False where collectives of several communicators could begin in another order here than on
  // other ranks: the executor then has each wait for the one before it in the text.
  virtual bool ordersCollectives() const { return true; }

  // False where `MemoryKind::host` is memory of another kind: the executor then copies a step's
  // input slot to the device beforehand and its output slot back when it ends.
  virtual bool hostMemoryIsDeviceMemory() const { return true; }
};

struct BackendOptions {
  int threads = 1;  // compute threads (CPU), at least 1
  int ordinal = 0;  // which of the machine's devices (CUDA), from 0
};

// A device as it is found without opening it.
struct DeviceListing {
  int ordinal = 0;
  std::string name;
  std::string kind;        // "cpu" or "cuda"
  std::string capability;  // compute capability, e.g. "9.0" (CUDA)
  size_t memoryBytes = 0;
  std::string bus;      // its place on the PCI bus as sysfs names it, e.g. "0000:1b:00.0" (CUDA)
  std::string problem;  // why it cannot be used, as far as that is known without opening it
};

// Each backend defines the following once, for the module that it is linked into.

// Opens a device. Throws ERR_DEVICE when there is no such device.
std::shared_ptr<Backend> createBackend(const BackendOptions& options);

// The devices of this machine; opens none. Throws ERR_DEVICE when it can have none.
std::vector<DeviceListing> listDevices();

// The libraries that compute and communicate.
LibraryVersions libraryVersions();

// What `Backend::kernels` gives, without a device.
const KernelTable& kernelTable();

}  // namespace onehour
