#include "trial.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>

namespace onehour::cuda {
namespace {

constexpr int timedRuns = 5;   // their median counts
constexpr float hopeless = 3;  // times the best time: not run again

// Of either sign, between ½ and 2, as bf16, as f16 and, two of them, as f32:
// 1 MiB.
std::vector<uint16_t> randomNumbers() {
  std::minstd_rand random;
  std::vector<uint16_t> numbers(size_t{1} << 19);
  for (uint16_t& number : numbers) {
    number = static_cast<uint16_t>(0x3f00 | (random() >> 8 & 0x80ff));
  }
  return numbers;
}

}  // namespace

void Trial::run(Kernel& kernel) {
  enqueue(kernel);
  ONEHOUR_CUDA(cudaStreamSynchronize(stream_.handle()));
}

float Trial::time(Kernel& kernel, float best) {
  run(kernel);
  std::array<float, timedRuns> times;
  for (float& milliseconds : times) {
    ONEHOUR_CUDA(cudaEventRecord(begin_.get(), stream_.handle()));
    enqueue(kernel);
    ONEHOUR_CUDA(cudaEventRecord(end_.get(), stream_.handle()));
    ONEHOUR_CUDA(cudaEventSynchronize(end_.get()));
    ONEHOUR_CUDA(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()));
    if (times[0] > hopeless * best) return times[0];
  }
  std::nth_element(times.begin(), times.begin() + timedRuns / 2, times.end());
  return times[timedRuns / 2];
}

void Trial::enqueue(Kernel& kernel) {
  if (kernel.workspaceBytes() > scratchBytes_) {
    scratchBytes_ = 0;
    ONEHOUR_CUDA(cudaMalloc(scratch_.out(), kernel.workspaceBytes()));
    scratchBytes_ = kernel.workspaceBytes();
    stream_.bindWorkspace(scratch_.get());
  }
  kernel.run(stream_);
}

RandomOperands::RandomOperands(const Instruction& instruction, cudaStream_t stream)
    : stream_(stream) {
  for (const auto* side : {&instruction.inputs, &instruction.outputs}) {
    for (const Operand& operand : *side) operands_.push_back(operand);
  }
  static const std::vector<uint16_t> numbers = randomNumbers();
  for (const Operand& operand : operands_) {
    auto* const data = static_cast<std::byte*>(operand.data);
    size_t filled = std::min(operand.bytes(), numbers.size() * sizeof(uint16_t));
    ONEHOUR_CUDA(cudaMemcpyAsync(data, numbers.data(), filled, cudaMemcpyDefault, stream));
    while (filled < operand.bytes()) {
      const size_t more = std::min(filled, operand.bytes() - filled);
      ONEHOUR_CUDA(cudaMemcpyAsync(data + filled, data, more, cudaMemcpyDefault, stream));
      filled += more;
    }
  }
  ONEHOUR_CUDA(cudaStreamSynchronize(stream));
}

RandomOperands::~RandomOperands() {  // what fails here fails in the next call too
  for (const Operand& operand : operands_) {
    static_cast<void>(cudaMemsetAsync(operand.data, 0, operand.bytes(), stream_));
  }
  static_cast<void>(cudaStreamSynchronize(stream_));
}

void forgive(const Error& error) {
  if (isSticky(cudaGetLastError())) throw error;
}

}  // namespace onehour::cuda
