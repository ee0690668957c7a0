// A plan bound to its tensors, with this project's own kernel after it.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "tuning.h"

namespace onehour::cuda {

// Where a tensor of the graph lies: at `data`, or, where that is null, `offset` bytes into the
// kernel's own part of the workspace.
struct Binding {
  TensorId tensor;
  void* data = nullptr;
  size_t offset = 0;
};

class PlanKernel final : public Kernel {
 public:
  // Launches on the stream; `own` is the kernel's own part of the workspace.
  using Step = std::function<void(Stream& stream, std::byte* own)>;

  // The workspace is the plan's, then `ownBytes` of the kernel's own.
  PlanKernel(Target& target, Choice plan, std::vector<Binding> bindings, size_t ownBytes = 0,
             Step after = {});

  void run(Stream& stream) override;
  size_t workspaceBytes() const override { return planBytes_ + ownBytes_; }

 private:
  void bind(std::byte* workspace);

  Target& target_;
  Choice plan_;
  std::vector<Binding> bindings_;
  size_t planBytes_;
  size_t ownBytes_;
  Step after_;
  std::optional<Descriptor> pack_;  // the addresses, for the workspace at `bound_`
  std::byte* bound_ = nullptr;
};

}  // namespace onehour::cuda
