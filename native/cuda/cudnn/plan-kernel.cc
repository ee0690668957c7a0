// The addresses of a plan's tensors are put into a descriptor at the first run, when the stream's
// workspace is known, and stay.
#include "plan-kernel.h"

#include <utility>

namespace onehour::cuda {
namespace {

constexpr size_t partAlignment = 256;  // bytes, of the parts of a workspace

size_t alignUp(size_t bytes) { return (bytes + partAlignment - 1) / partAlignment * partAlignment; }

}  // namespace

PlanKernel::PlanKernel(Target& target, Choice plan, std::vector<Binding> bindings, size_t ownBytes,
                       Step after)
    : target_(target),
      plan_(std::move(plan)),
      bindings_(std::move(bindings)),
      planBytes_(alignUp(plan_->workspaceBytes())),
      ownBytes_(ownBytes),
      after_(std::move(after)) {}

void PlanKernel::run(Stream& stream) {
  std::byte* const workspace = static_cast<std::byte*>(stream.workspace());
  if (!pack_ || workspace != bound_) bind(workspace);
  std::byte* const own = workspace + planBytes_;
  target_.execute(plan_->descriptor(), *pack_, handleOf(stream));
  if (after_) after_(stream, own);
}

void PlanKernel::bind(std::byte* workspace) {
  std::vector<int64_t> tensors;
  std::vector<void*> addresses;
  for (const Binding& binding : bindings_) {
    tensors.push_back(binding.tensor);
    addresses.push_back(binding.data != nullptr ? binding.data
                                                : workspace + planBytes_ + binding.offset);
  }
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const int64_t>(tensors))
      .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>(addresses))
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, static_cast<void*>(workspace))
      .finalize();
  pack_ = std::move(pack);
  bound_ = workspace;
}

}  // namespace onehour::cuda
