// The checked operands of an SGD update, as every backend reads them from the instruction.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "check.h"

namespace onehour {

// Consecutive elements with one weight decay.
struct Segment {
  int64_t begin, end;
  float decay;  // λ
};

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
    segments.push_back({begin, begin + length, static_cast<float>(decay)});
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
  const Operand* trust;     // a factor on η for each segment, or null
  const Operand* factor;    // what multiplies g, 0 for a step to skip; or null
  const Operand* copy;      // w in another type, or null
  bool velocity;            // the form of the momentum; the other is the gradient form
  bool nesterov;
  bool zero;  // clears g
  float momentum;
  std::vector<Segment> segments;
};

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
  const Operand* trust = instruction.findInput("trust");
  std::vector<Segment> segments = segmentsOf(instruction, w.count());
  if (trust != nullptr) {
    expectShape(instruction, *trust, {static_cast<int64_t>(segments.size())});
  }
  return {.w = w,
          .g = instruction.input("g"),
          .v = instruction.input("v"),
          .schedule = instruction.input("schedule"),
          .finite = instruction.output("finite"),
          .trust = trust,
          .factor = instruction.findInput("factor"),
          .copy = instruction.findOutput("copy"),
          .velocity = form == "velocity",
          .nesterov = flag(instruction, "nesterov"),
          .zero = flag(instruction, "zero"),
          .momentum = static_cast<float>(instruction.number("momentum")),
          .segments = std::move(segments)};
}

}  // namespace onehour
