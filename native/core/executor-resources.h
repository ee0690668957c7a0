// The result of loading: memory, streams, and programs as lists of prepared kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "executor.h"

namespace onehour {

constexpr const char* kPrimaryStream = "compute";
constexpr const char* kCopyStream = "copy";
constexpr size_t kAlignment = 64;  // bytes, of slots

inline size_t alignUp(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

inline bool isSlotted(const std::string& arena) { return arena == "input" || arena == "output"; }

// A kernel that records its error in the executor, with the line, instead of throwing; after the
// first error of any kernel it does nothing.
class Executor::PreparedKernel final : public Kernel {
 public:
  PreparedKernel(Executor& executor, std::string program, Instruction instruction)
      : executor_(executor), program_(std::move(program)), instruction_(std::move(instruction)) {}

  void prepare(const KernelEntry& entry, PrepareContext& context) {
    kernel_ = entry.prepare(instruction_, context);
  }

  void run(Stream& stream) override;

  size_t workspaceBytes() const override { return kernel_->workspaceBytes(); }
  int line() const { return instruction_.line; }

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
  int line;  // of the program text; 0 for what the executor adds
  Stream* stream;
  Event* event = nullptr;
  // One kernel, or one a slot where an operand lies in a slot.
  std::vector<PreparedKernel*> kernels;
  bool communicates = false;
};

// Around a submission and each of its lines.
struct Executor::Marks {
  std::unique_ptr<Mark> begin, end;
  std::vector<std::unique_ptr<Mark>> lines;  // before and after each
};

// Marks of a program, which are used again. A submission's callback gives them back, perhaps when
// the executor is gone.
class Executor::MarkPool {
 public:
  std::unique_ptr<Marks> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return nullptr;
    std::unique_ptr<Marks> marks = std::move(free_.back());
    free_.pop_back();
    return marks;
  }
  void giveBack(std::unique_ptr<Marks> marks) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(marks));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Marks>> free_;
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
  std::vector<Branch> branches;                     // streams other than the primary one
  std::vector<std::unique_ptr<Kernel>> recordings;  // none, one, or one a slot
  std::shared_ptr<MarkPool> marks = std::make_shared<MarkPool>();
  bool readsInput = false;
  bool writesOutput = false;
};

struct Executor::Resources {
  size_t available = 0;  // bytes, before anything was allocated
  std::map<std::string, Allocation> arenas;
  std::vector<std::shared_ptr<void>> workspaces;
  // Kernels and events outlive the streams that they were queued on.
  std::unordered_map<std::string, LoadedProgram> programs;
  std::map<int, std::unique_ptr<Event>> arrived;  // by slot: its input is on the device
  std::map<std::string, std::unique_ptr<Stream>> streams;
  uint64_t generation = 0;  // of submissions
};

// The kernel for a slot, of kernels that are one a slot or one for all.
template <typename Kernels>
auto& forSlot(const Kernels& kernels, int slot) {
  return *kernels[kernels.size() == 1 ? 0 : static_cast<size_t>(slot)];
}

}  // namespace onehour
