// The checked operands of norms, clipping and loss scaling, as every backend reads them from the
// instruction.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "check.h"

namespace onehour {

// Elements of a tensor that are summed on their own: their sum has the same bits for any number of
// threads or blocks.
struct NormTile {
  static constexpr int64_t elements = 8192;
  int64_t begin, end;
};

struct Norms {
  const Operand& w;
  const Operand& g;
  const Operand& norms;          // of each tensor Σw², Σg² and how many elements are not finite
  std::vector<NormTile> tiles;   // of all tensors
  std::vector<int32_t> tensors;  // the first tile of each, and the number of tiles
};

inline Norms normsOf(const Instruction& instruction) {
  const Operand& w = instruction.input("w");
  const std::vector<int64_t> lengths = instruction.integers("lengths");
  Norms result{.w = w,
               .g = instruction.input("g"),
               .norms = instruction.output("norms"),
               .tiles = {},
               .tensors = {}};
  expectShape(instruction, result.norms, {static_cast<int64_t>(lengths.size()), 3});
  const auto refuse = [&] {
    throw Error("ERR_SHAPE", "onehour",
                "[norms] expected lengths of at least 1 that sum to " + std::to_string(w.count()) +
                    ", got " + std::string(instruction.word("lengths").substr(0, 80)));
  };
  int64_t at = 0;
  for (const int64_t length : lengths) {
    if (length < 1 || length > w.count() - at) refuse();
    result.tensors.push_back(static_cast<int32_t>(result.tiles.size()));
    const int64_t end = at + length;
    for (; at < end; at = result.tiles.back().end) {
      result.tiles.push_back({at, std::min(end, at + NormTile::elements)});
    }
  }
  if (at != w.count()) refuse();
  result.tensors.push_back(static_cast<int32_t>(result.tiles.size()));
  return result;
}

// Scales g in place, and its norms with it.
struct ClipNorm {
  const Operand& g;
  const Operand& norms;
  double limit;
};

inline ClipNorm clipNormOf(const Instruction& instruction) {
  const Operand& g = instruction.input("g");
  const Operand& norms = instruction.input("norms");
  for (const Operand* operand : {&g, &norms}) {
    if (instruction.output(operand->name).data == operand->data) continue;
    throw Error("ERR_SHAPE", "onehour",
                "[clip-norm] expected " + operand->name +
                    " to be scaled in place, got an output at another address");
  }
  const double limit = instruction.number("limit");
  if (!(limit > 0)) {
    throw Error(
        "ERR_KERNEL", "onehour",
        "[clip-norm] expected a limit above 0, got " + std::string(instruction.word("limit")));
  }
  return {g, norms, limit};
}

// What PyTorch's clip_grad_norm_ adds to the norm.
constexpr double clipEpsilon = 1e-6;

// What loss scaling keeps from step to step. The scale is a power of two, so that it costs no
// rounding: it doubles after some good steps, and half of it follows a step that is skipped.
struct Scaling {
  float scale;
  float good;     // steps since the scale last changed
  float skipped;  // steps in all
};
constexpr float leastScale = 0x1p-126f;  // whose inverse is finite

// Decides on a step by its scaled gradient, and scales its norms back in place.
struct LossScale {
  const Operand& norms;
  const Operand& scaling;
  const Operand& factor;  // what scales this step's gradient back, or 0 where it is skipped
  float interval;         // good steps after which the scale doubles
};

inline LossScale lossScaleOf(const Instruction& instruction) {
  for (const char* name : {"norms", "scaling"}) {
    if (instruction.output(name).data == instruction.input(name).data) continue;
    throw Error("ERR_SHAPE", "onehour",
                "[loss-scale] expected " + std::string(name) +
                    " to be changed in place, got an output at another address");
  }
  const int64_t interval = instruction.integer("interval");
  if (interval < 1 || interval > 1 << 24) {
    throw Error("ERR_KERNEL", "onehour",
                "[loss-scale] expected an interval of 1 to 16777216 steps, got " +
                    std::string(instruction.word("interval")));
  }
  return {.norms = instruction.input("norms"),
          .scaling = instruction.input("scaling"),
          .factor = instruction.output("factor"),
          .interval = static_cast<float>(interval)};
}

}  // namespace onehour
