// The checked operands of an SGD update, as every backend reads them from the instruction.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../both.h"
#include "check.h"

namespace onehour {

// Consecutive elements with one weight decay.
struct Segment {
  int64_t begin, end;
  float decay;  // λ
  bool adapts;  // whether its rate follows its norms
};

// Norms that rates follow.
struct Trust {
  const float* norms;  // of each segment Σw², Σg² and the number of non-finite elements; or null
  double coefficient;  // c
};

// The factor on η of a segment that adapts: c·‖w‖ / (‖g‖ + λ‖w‖), 1 where a norm is 0 or not a
// number.
ONEHOUR_BOTH inline float trustRatio(const Trust& trust, int64_t segment, float decay) {
  const double weights = std::sqrt(static_cast<double>(trust.norms[3 * segment]));
  const double gradients = std::sqrt(static_cast<double>(trust.norms[3 * segment + 1]));
  if (!(weights > 0 && gradients > 0)) return 1;
  return static_cast<float>(trust.coefficient * weights / (gradients + decay * weights));
}

// "length:λ,length:λ,…", lengths in elements, together `count`.
inline std::vector<Segment> segmentsOf(const Instruction& instruction, int64_t count) {
  const std::string_view text = instruction.word("segments");
  const auto refuse = [&] {
    throw Error("ERR_SHAPE", "onehour",
                "[sgd] expected segments=length:decay,… with lengths that sum to " +
                    std::to_string(count) + ", got " + std::string(text.substr(0, 80)));
  };
  std::vector<Segment> segments;
  int64_t begin = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    int64_t length = 0;
    double decay = 0;
    auto result = std::from_chars(at, end, length);
    if (result.ec != std::errc() || result.ptr == end || *result.ptr != ':') refuse();
    result = std::from_chars(result.ptr + 1, end, decay);
    if (result.ec != std::errc() || length < 1 || length > count - begin) refuse();
    segments.push_back({begin, begin + length, static_cast<float>(decay), false});
    begin += length;
    at = result.ptr;
    if (at == end) break;
    if (*at++ != ',') refuse();
  }
  if (begin != count) refuse();
  return segments;
}

// What is updated lies in the inputs; its outputs are at the same addresses.
struct SgdUpdate {
  const Operand& w;
  const Operand& g;
  const Operand& v;
  const Operand& schedule;  // (η, c)
  const Operand& finite;    // the number of gradients that are not finite
  const Operand* factor;    // what multiplies g, 0 for a step to skip; or null
  const Operand* copy;      // w in another type, or null
  bool velocity;            // the form of the momentum; the other is the gradient form
  bool nesterov;
  bool zero;  // clears g
  float momentum;
  Trust trust;
  std::vector<Segment> segments;
};

// Marks the segments that adapt, where norms are given.
inline Trust trustOf(const Instruction& instruction, std::vector<Segment>& segments) {
  const Operand* norms = instruction.findInput("norms");
  if (norms == nullptr) return {nullptr, 0};
  const auto count = static_cast<int64_t>(segments.size());
  expectShape(instruction, *norms, {count, 3});
  const std::vector<int64_t> adapts = instruction.integers("adapts");
  if (adapts.size() != segments.size()) {
    throw Error("ERR_SHAPE", "onehour",
                "[sgd] expected adapts of " + std::to_string(count) + " segments, got " +
                    std::to_string(adapts.size()));
  }
  for (size_t i = 0; i < segments.size(); ++i) segments[i].adapts = adapts[i] != 0;
  return {norms->as<float>(), instruction.number("coefficient")};
}

inline SgdUpdate sgdOf(const Instruction& instruction) {
  const Operand& w = instruction.input("w");
  for (const char* name : {"w", "v", "g"}) {
    const Operand* output = instruction.findOutput(name);
    if (output != nullptr && output->data != instruction.input(name).data) {
      throw Error("ERR_SHAPE", "onehour",
                  "[sgd] expected " + std::string(name) +
                      " to be updated in place, got an output at another address");
    }
  }
  const std::string_view form = instruction.word("form");
  if (form != "gradient" && form != "velocity") {
    throw Error("ERR_KERNEL", "onehour",
                "[sgd] expected form=gradient or form=velocity, got " + std::string(form));
  }
  std::vector<Segment> segments = segmentsOf(instruction, w.count());
  const Trust trust = trustOf(instruction, segments);
  return {.w = w,
          .g = instruction.input("g"),
          .v = instruction.input("v"),
          .schedule = instruction.input("schedule"),
          .finite = instruction.output("finite"),
          .factor = instruction.findInput("factor"),
          .copy = instruction.findOutput("copy"),
          .velocity = form == "velocity",
          .nesterov = flag(instruction, "nesterov"),
          .zero = flag(instruction, "zero"),
          .momentum = static_cast<float>(instruction.number("momentum")),
          .trust = trust,
          .segments = std::move(segments)};
}

}  // namespace onehour
