// Runs kernels while programs are prepared, on random numbers where they are timed.
#pragma once

#include <vector>

#include "cudnn.h"

namespace onehour::cuda {

// Has a stream and scratch memory of its own.
class Trial {
 public:
  // Memory that was allocated just now is still being cleared, on the default stream.
  explicit Trial(Target& target) : target_(target), stream_(0) {
    ONEHOUR_CUDA(cudaStreamSynchronize(cudaStreamLegacy));
  }
  ~Trial() { target_.leaveStream(); }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  void run(Kernel& kernel);

  cudaStream_t stream() const { return stream_.handle(); }

  // Milliseconds of a run: the median of some, or of the first one if that is far above `best`.
  float time(Kernel& kernel, float best);

 private:
  void enqueue(Kernel& kernel);

  static EventHandle timingEvent() {
    EventHandle event;
    ONEHOUR_CUDA(cudaEventCreate(event.out()));
    return event;
  }

  Target& target_;
  Owned<void*, cudaFree> scratch_;
  size_t scratchBytes_ = 0;
  CudaStream stream_;
  EventHandle begin_ = timingEvent();
  EventHandle end_ = timingEvent();
};
// Fills the operands of an instruction with random numbers for as long as it lives, and with zeros
// when it goes.
class RandomOperands {
 public:
  RandomOperands(const Instruction& instruction, cudaStream_t stream);
  ~RandomOperands();
  RandomOperands(const RandomOperands&) = delete;
  RandomOperands& operator=(const RandomOperands&) = delete;

 private:
  std::vector<Operand> operands_;
  cudaStream_t stream_;
};

// A trial that failed leaves the device as it was, or everything ends: throws the error.
void forgive(const Error& error);

}  // namespace onehour::cuda
