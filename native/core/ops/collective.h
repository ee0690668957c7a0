// Instructions that communicate, with their operands checked: the same on every backend.
#pragma once

#include <cstddef>

#include "../backend.h"

namespace onehour {

struct AllReduce {
  Communicator& communicator;
  void* data;  // in place
  size_t count;
  DataType type;
};

struct AllGather {
  Communicator& communicator;
  const void* from;
  void* to;      // one part a rank, in rank order
  size_t bytes;  // of a part
};

struct Broadcast {
  Communicator& communicator;
  void* data;  // in place
  size_t bytes;
  int root;
};

AllReduce allReduceOf(const Instruction& instruction, const PrepareContext& context);
AllGather allGatherOf(const Instruction& instruction, const PrepareContext& context);
Broadcast broadcastOf(const Instruction& instruction, const PrepareContext& context);

}  // namespace onehour
