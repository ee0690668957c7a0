// Tests of the parser: an example, malformed lines, and a fuzzed set.
#include "../../core/program.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "../check.h"
#include "../programs.h"

namespace onehour::test {
namespace {

const std::string kExample = R"(onehour-program 1
name last
# a comment

arena param 4096
arena grad 4096
arena input 1024 slots=3
arena output 128 slots=3
arena temp 65536
compute normalize-input mean=0.286 std=3.53e-1 | x=input+0:u8[4,4,4,1] flip=input+64:u8[4] -> y=temp+0:f32[4,4,4,1] # input
compute conv2d stride=1,2 padding=1,1 | x=temp+0:f32[4,4,4,1] w=param+0:f32[16,3,3,1] -> y=temp+1024:f32[4,4,2,16] # conv1
compute sgd segments=100:0.0001,28:0 | w=param+0:f32[128] g=grad+0:f32[128] -> w=param+0:f32[128] finite=output+0:f32[]
compute signal event=3
comm wait event=3
comm all-reduce communicator=gradients | x=grad+0:f32[1000] -> x=grad+0:f32[1000]
statistics signal event=70
)";

void parsesTheExample() {
  const Program parsed = parseProgram(kExample);
  CHECK(parsed.name == "last");
  CHECK(parsed.arenas.size() == 5);
  CHECK(parsed.arenas[2].name == "input" && parsed.arenas[2].slots == 3);
  CHECK(parsed.instructions.size() == 7);
  const Instruction& conv = parsed.instructions[1];
  CHECK(conv.line == 11 && conv.op == "conv2d" && conv.stream == "compute");
  CHECK(contains(conv.text, "# conv1"));
  CHECK((conv.integers("stride") == std::vector<int64_t>{1, 2}));
  CHECK((conv.input("w").shape == std::vector<int64_t>{16, 3, 3, 1}));
  CHECK(conv.output("y").offset == 1024 && conv.output("y").bytes() == 4 * 4 * 2 * 16 * 4);
  CHECK(conv.findInput("b") == nullptr);
  CHECK(conv.integer("groups", 1) == 1);
  CHECK(parsed.instructions[0].number("std") == 0.353);
  CHECK(parsed.instructions[0].input("x").type == DataType::u8);
  CHECK(parsed.instructions[2].word("segments") == "100:0.0001,28:0");
  CHECK(parsed.instructions[2].output("finite").shape.empty());
  CHECK(parsed.instructions[2].output("finite").count() == 1);

  CHECK(contains(thrown([&] { conv.input("bias"); }).what(), "input bias is missing"));
  CHECK(thrown([&] { conv.integer("stride"); }).line == 11);
  CHECK(thrown([&] { conv.number("missing"); }).code == "ERR_PROGRAM");
  const Program odd =
      parseProgram(program("compute x a=nan b=1e999 c=0x10 d=1, e=9223372036854775808"));
  for (const char* key : {"a", "b", "c"}) thrown([&] { odd.instructions[0].number(key); });
  thrown([&] { odd.instructions[0].integers("d"); });
  thrown([&] { odd.instructions[0].integer("e"); });
}

void refusesWithTheLine() {
  struct Bad {
    const char* text;  // of line 7
    const char* part;  // of the message
  };
  const std::array<Bad, 40> table{{
      {"gpu conv2d", "unknown stream"},
      {"compute", "expected an operation"},
      {"compute  conv2d", "single spaces"},
      {"compute conv2d ", "single spaces"},
      {" compute conv2d", "single spaces"},
      {"compute\tconv2d", "control character"},
      {"compute conv2d stride", "expected key=value"},
      {"compute conv2d =1", "expected key=value"},
      {"compute conv2d stride=", "expected key=value"},
      {"compute conv2d a=1 a=2", "second attribute"},
      {"compute add | x=temp+0:f32[4]", "expected \"->\""},
      {"compute add | x=temp+0:f32[4 -> ", "single spaces"},
      {"compute add | x=temp+0:f32[4 ->", "expected an operand"},
      {"compute add | x=temp:f32[4] ->", "expected an operand"},
      {"compute add | temp+0:f32[4] ->", "expected an operand"},
      {"compute add | x=heap+0:f32[4] ->", "was not declared"},
      {"compute add | x=grad+0:f32[4] ->", "was not declared"},
      {"compute add | x=temp+0:f64[4] ->", "unknown dtype"},
      {"compute add | x=temp+2:f32[4] ->", "not a multiple of 4"},
      {"compute add | x=temp+1:bf16[4] ->", "not a multiple of 2"},
      {"compute add | x=temp+-4:f32[4] ->", "malformed offset"},
      {"compute add | x=temp+00:f32[4] ->", "malformed offset"},
      {"compute add | x=temp+99999999999999999999:f32[4] ->", "malformed offset"},
      {"compute add | x=temp+0:f32[257] ->", "ends at byte 1028"},
      {"compute add | x=temp+1024:f32[1] ->", "ends at byte 1028"},
      {"compute add | x=temp+0:f32[4,0] ->", "a dimension is"},
      {"compute add | x=temp+0:f32[-1] ->", "a dimension is"},
      {"compute add | x=temp+0:f32[4,] ->", "a dimension is"},
      {"compute add | x=temp+0:f32[1099511627776,1099511627776] ->", "larger than any arena"},
      {"compute add | x=temp+0:f32[1,1,1,1,1,1,1,1,1] ->", "more than 8"},
      {"compute add | x=temp+0:f32[4] x=temp+0:f32[4] ->", "second operand"},
      {"compute add | x=temp+0:f32[4] -> x=temp+64:f32[4]", "not the same tensor"},
      {"compute signal", "expected \"signal event"},
      {"compute signal event=65536", "an event is a number"},
      {"compute wait event=1", "no earlier line signals"},
      {"arena state 99999999999999999", "bytes of an arena"},
      {"arena state 64 slots=2", "only the arenas input and output"},
      {"arena temp 64", "a second arena"},
      {"arena heap 64", "unknown arena"},
      {"name q", "a second name"},
  }};
  for (const Bad& bad : table) {
    const Error error = thrown([&] { parseProgram(program(bad.text)); });
    CHECK(error.code == "ERR_PROGRAM");
    if (error.line != 7 || !contains(error.what(), bad.part)) {
      std::fprintf(stderr, "line \"%s\" gave: %s\n", bad.text, error.what());
      CHECK(error.line == 7);
    }
  }
  CHECK(contains(thrown([] { parseProgram(""); }).what(), "empty"));
  CHECK(contains(thrown([] { parseProgram("onehour-program 2\n"); }).what(), "header"));
  CHECK(contains(thrown([] { parseProgram("onehour-program 1\n"); }).what(), "no name"));
  CHECK(contains(thrown([] {
                   parseProgram(program("compute signal event=1\ncompute signal event=1"));
                 }).what(),
                 "twice"));
}

// A small counter-based generator, the same on every machine.
struct Random {
  uint64_t state;
  uint64_t next() {
    state += 0x9e3779b97f4a7c15ull;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }
};

std::string mutate(std::string text, Random& random) {
  static const std::array<const char*, 24> kSnippets{"0",
                                                     "-1",
                                                     "18446744073709551615",
                                                     "9223372036854775807",
                                                     "1099511627776",
                                                     "[",
                                                     "]",
                                                     "|",
                                                     "->",
                                                     "=",
                                                     "+",
                                                     ":",
                                                     ",",
                                                     " ",
                                                     "\n",
                                                     "#",
                                                     "\r",
                                                     "f32",
                                                     "input",
                                                     "slots=64",
                                                     "event=3",
                                                     "temp+0:f32[1]",
                                                     "compute",
                                                     "\xff\xfe"};
  const size_t rounds = 1 + random.below(4);
  for (size_t round = 0; round < rounds && !text.empty(); ++round) {
    const size_t position = random.below(text.size());
    switch (random.below(7)) {
      case 0:
        text[position] = static_cast<char>(random.below(256));
        break;
      case 1:
        text.erase(position, 1 + random.below(12));
        break;
      case 2:
        text.insert(position, kSnippets[random.below(kSnippets.size())]);
        break;
      case 3:
        text.replace(position, 1, kSnippets[random.below(kSnippets.size())]);
        break;
      case 4:  // a number becomes another
        for (size_t i = position; i < text.size(); ++i) {
          if (text[i] < '0' || text[i] > '9') continue;
          text.replace(i, 1, std::to_string(random.next() >> random.below(64)));
          break;
        }
        break;
      case 5:  // a piece appears twice
        text.insert(position, text.substr(random.below(text.size()), random.below(200)));
        break;
      default:
        text.resize(position);
        break;
    }
  }
  return text;
}

void survivesFuzzing() {
  Random random{2017};
  int refused = 0;
  int accepted = 0;
  for (int round = 0; round < 5000; ++round) {
    const std::string text = mutate(kExample, random);
    const auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
    try {
      const Program parsed = parseProgram(text);
      ++accepted;
      for (const Instruction& instruction : parsed.instructions) {
        for (const auto* side : {&instruction.inputs, &instruction.outputs}) {
          for (const Operand& operand : *side) {
            const auto arena =
                std::find_if(parsed.arenas.begin(), parsed.arenas.end(),
                             [&](const Arena& a) { return a.name == operand.arena; });
            CHECK(arena != parsed.arenas.end());
            CHECK(operand.offset + operand.bytes() <= arena->bytes);
          }
        }
      }
    } catch (const Error& error) {
      ++refused;
      CHECK(error.code == "ERR_PROGRAM");
      CHECK(error.line >= 1 && error.line <= lines);
      CHECK(contains(error.what(), error.text));
    }
  }
  CHECK(refused > 2000);
  CHECK(accepted > 200);
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"the example parses", parsesTheExample},
              {"malformed lines are refused and quoted", refusesWithTheLine},
              {"5,000 mutated programs parse or are refused", survivesFuzzing}});
}
