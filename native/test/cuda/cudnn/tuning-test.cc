// Tests of the search for a plan, with cuDNN's own plans for a GPU that is only described and
// kernels that fail or not in their place:
//   tuning_test DEVICE.json
#include "../../../cuda/cudnn/tuning.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../../../cuda/cudnn/conv-problem.h"
#include "../../check.h"
#include "../../fakes/cuda-runtime.h"

namespace onehour::test {
namespace {

using namespace onehour::cuda;

std::string deviceFile;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A folder of plans, for as long as this lives.
class Cache {
 public:
  Cache() {
    CHECK(mkdtemp(folder_) != nullptr);
    setenv("XDG_CACHE_HOME", folder_, 1);
  }
  ~Cache() {
    unsetenv("XDG_CACHE_HOME");
    std::filesystem::remove_all(folder_);
  }

  // Its files with this ending.
  std::vector<std::string> files(const std::string& ending) const {
    std::vector<std::string> result;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      if (entry.path().extension() == ending) result.push_back(entry.path().string());
    }
    return result;
  }

 private:
  char folder_[32] = "/tmp/onehour-tuning-XXXXXX";
};

// Another batch is another graph, for which nothing was chosen yet.
Instruction convolution(int batch) {
  const std::string sizes = std::to_string(batch) + ",28,28,16]";
  return parseProgram(
             "onehour-program 1\nname p\narena temp 4194304\n"
             "compute conv2d stride=1,1 padding=1,1 | x=temp+0:bf16[" +
             sizes + " w=temp+1048576:bf16[16,3,3,16] -> y=temp+2097152:bf16[" + sizes + "\n")
      .instructions.at(0);
}

// A search whose first `failing` kernels cannot run, by a clock that goes on by `seconds` in each
// kernel that is made.
struct Search {
  Target target{contents(deviceFile)};
  std::vector<Choice> tried;
  std::vector<uint16_t> memory = std::vector<uint16_t>(1 << 21);
  double time = 0;
  double seconds = 0;
  std::atomic<int> targets{0};  // of threads
  Searches searches{2,
                    [this] {
                      ++targets;
                      return std::make_unique<Target>(contents(deviceFile));
                    },
                    [this] { return time; }};

  std::unique_ptr<Kernel> choose(int batch, size_t failing, bool hasAlternative) {
    Instruction instruction = convolution(batch);
    for (auto* side : {&instruction.inputs, &instruction.outputs}) {
      for (Operand& operand : *side) operand.data = &memory[operand.offset / sizeof(uint16_t)];
    }
    const ConvProblem problem(instruction);
    const OperationGraph graph =
        describe(target, Pattern::forward, problem.arithmetic, problem.convolution);
    return chooseKernel(
        target, graph, instruction,
        [&](const Choice& choice) {
          if (!choice && within != 0) return choose(within, 0, false);
          tried.push_back(choice);
          const bool fails = choice && tried.size() <= failing;
          if (choice) time += seconds;
          return makeKernel([this, fails, batch](Stream&) {
            ++runs[batch];
            if (fails) throw Error("ERR_TEST", "test", "this plan does not run");
            sawNumbers = memory[0] != 0 && memory[1 << 19] != 0;
          });
        },
        searches, hasAlternative);
  }

  void begin(int batch, bool hasAlternative = true) {
    const ConvProblem problem(convolution(batch));
    planAhead(target, Pattern::forward, problem.arithmetic, problem.convolution, searches,
              hasAlternative);
  }

  // What was tried for a graph that has an alternative.
  std::vector<Choice> triedFor(int batch, size_t failing) {
    tried.clear();
    CHECK(choose(batch, failing, true));
    return tried;
  }

  bool sawNumbers = false;
  int within = 0;           // the batch whose kernel is the alternative
  std::map<int, int> runs;  // by batch
};

void goesOnBehindPlansThatFail() {
  Search search;
  CHECK(search.choose(1, 0, false));
  CHECK(search.tried.size() == 1);
  search.tried.clear();
  CHECK(search.choose(2, 2, false));
  CHECK(search.tried.size() == 3 && search.tried[2]);
  // The same graph again: what was found, without a search.
  CHECK(search.choose(2, 0, false));
  CHECK(search.tried.size() == 4 && search.tried[3] == search.tried[2]);
}

void takesTheAlternativeLast() {
  Search search;
  CHECK(search.choose(3, 1000, true));
  CHECK(search.tried.size() > 2 && !search.tried.front() && search.tried.back());
  CHECK(search.choose(3, 0, true));
  CHECK(!search.tried.back());
}

void recordsWhatWasTried() {
  const Cache cache;
  CHECK(Search().choose(6, 1000, true));
  CHECK(cache.files(".search").size() == 1);
  const std::string record = contents(cache.files(".search")[0]);
  CHECK(contains(record, "\"fused\":true,\"repeats\":true,\"milliseconds\":null}"));
  CHECK(contains(record, "\"engine\":\"engine "));
  CHECK(contains(record,
                 "and a plain plan\",\"fused\":false,\"repeats\":true,\"milliseconds\":1.000000}"));
}

void namesTheLastFailure() {
  Search search;
  const Error error = thrown([&] { search.choose(4, 1000, false); });
  CHECK(error.code == "ERR_TEST" && contains(error.what(), "this plan does not run\n"));
  CHECK(contains(error.what(), "there is no plan for ") && contains(error.what(), "engine "));
}

void givesUp() {
  const Target target(contents(deviceFile));
  const ConvProblem problem(convolution(5));
  const OperationGraph graph =
      describe(target, Pattern::forward, problem.arithmetic, problem.convolution);
  Limits limits;
  limits.compiled = 0;
  limits.patience = 0;
  int tried = 0;
  const std::string reason = proposePlans(target, graph, limits, [&](const Plan&) {
    ++tried;
    return false;
  });
  CHECK(tried == 1 && contains(reason, "gave up after 0 s, in which none of 1 engines"));
  // It is no limit for plans that are of use.
  limits.plans = 2;
  proposePlans(target, graph, limits, [&](const Plan&) {
    ++tried;
    return true;
  });
  CHECK(tried == 3);
}

void stopsAfterFiveSecondsAGraph() {
  Search search;
  search.seconds = 2;
  const std::vector<Choice> tried = search.triedFor(10, 1000);
  CHECK(tried.size() == 4 && !tried[0] && tried[3]);  // the alternative; at 2, 4 and 6 s
  // Where there is no other way it goes on.
  search.tried.clear();
  CHECK(search.choose(11, 4, false) && search.tried.size() == 5);
}

void leavesAPatternThatFailedTwice() {
  Search search;
  for (const int batch : {12, 13}) CHECK(search.triedFor(batch, 1000).size() > 1);
  for (const int batch : {14, 14, 15}) CHECK(search.triedFor(batch, 0) == std::vector<Choice>(1));
  // A later load tries again.
  Search later;
  CHECK(later.triedFor(14, 0).size() == 2);
}

void stopsAfterAMinuteInAll() {
  Search search;
  search.seconds = 4.5;
  int searched = 0;
  for (int batch = 16; batch < 36; ++batch) searched += search.triedFor(batch, 0).size() > 1;
  CHECK(searched == 13 && search.time == 13 * 4.5);
}

// A gradient of filters in fp32, for which cuDNN has engines of both kinds. Those whose bits do not
// repeat are twice as fast here.
void comparesWhatDoesNotRepeat() {
  const Cache cache;
  Target target(contents(deviceFile));
  Instruction instruction = convolution(45);
  for (auto* side : {&instruction.inputs, &instruction.outputs}) side->clear();
  ConvProblem problem(convolution(45));
  problem.convolution.type = DataType::f32;
  const OperationGraph graph =
      describe(target, Pattern::backwardWeight, Arithmetic::fp32, problem.convolution);
  const auto choose = [&] {
    std::vector<Choice> made;
    Search search;
    const auto make = [&](const Choice& choice) {
      made.push_back(choice);
      return makeKernel([repeats = choice->engine().repeats](Stream&) {
        fake::takeMilliseconds(repeats ? 2 : 1);
      });
    };
    chooseKernel(target, graph, instruction, make, search.searches, false);
    return made;
  };
  const std::vector<Choice> made = choose();
  CHECK(made.size() == 2 && made[0]->engine().repeats && !made[1]->engine().repeats);
  CHECK(choose() == std::vector<Choice>(1, made[0]));
  const std::string record = contents(cache.files(".search").at(0));
  CHECK(contains(record, "\"repeats\":true,\"milliseconds\":2.000000}"));
  CHECK(contains(record,
                 "not deterministic\",\"fused\":false,\"repeats\":false,"
                 "\"milliseconds\":1.000000}"));
  fake::takeMilliseconds(1);
}

// As the other ranks of a server do.
void followsAnotherProcessThatSkipped() {
  const Cache cache;
  Search first;
  for (const int batch : {36, 37}) CHECK(first.triedFor(batch, 1000).size() > 1);
  CHECK(first.triedFor(38, 0).size() == 1);
  Search other;
  CHECK(other.triedFor(38, 0) == std::vector<Choice>(1));
  // Not for good.
  for (const std::string& path : cache.files(".json")) {
    const std::string text = contents(path);
    if (contains(text, "x 38x")) {
      std::ofstream(path) << text.substr(0, text.find("\"plan\":")) << "\"plan\":1000}\n";
    }
  }
  CHECK(other.triedFor(38, 0).size() == 2);
}

void makesPlansAhead() {
  Search search;
  for (const int batch : {40, 41, 42, 40}) search.begin(batch);
  // Those that were made and no others: a search here would go on to further engines.
  for (const int batch : {40, 41, 42}) CHECK(search.triedFor(batch, 1000).size() == 2);
  CHECK(search.targets >= 1 && search.targets <= 2);
  // Where there is no other way, it does.
  search.begin(46, false);
  search.tried.clear();
  CHECK(search.choose(46, 2, false));
  CHECK(search.tried.size() == 3 && search.tried[2]);
  // What is known needs none.
  Search later;
  later.begin(40);
  CHECK(later.triedFor(40, 0) == std::vector<Choice>(1) && later.targets == 0);
}

// Two processes that begin alike: each makes plans that the other waits for.
void sharesTheWork() {
  const Cache cache;
  Search one, other;
  one.begin(43);
  CHECK(one.searches.ahead.take("") == std::nullopt);  // waits until they are made
  other.begin(43);
  other.begin(44);
  CHECK(other.triedFor(44, 0).size() == 2 && other.targets == 1);
  std::thread waiting([&] { CHECK(other.triedFor(43, 0).size() == 2); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(one.triedFor(43, 0).size() == 2);
  waiting.join();
  CHECK(cache.files(".search").size() == 2);
}

// The alternative's plans may be what another process makes, which waits for those of the graph.
void waitsForNoneThatWaits() {
  const Cache cache;
  Search one, other;
  one.within = other.within = 48;
  one.begin(47);
  other.begin(48, false);
  for (Search* search : {&one, &other}) CHECK(search->searches.ahead.take("") == std::nullopt);
  std::thread waiting([&] { CHECK(other.choose(47, 0, true)); });
  CHECK(one.choose(47, 0, true));
  waiting.join();
  // Each timed what it had made; the other's choice runs once, or not at all.
  CHECK(one.runs[47] > 1 && other.runs[48] > 1 && other.runs[47] <= 1);
}

void triesOnNumbers() {
  Search search;
  CHECK(search.choose(39, 0, false) && search.sawNumbers);
  CHECK(search.memory == std::vector<uint16_t>(search.memory.size()));
}

}  // namespace
}  // namespace onehour::test

int main(int count, char** arguments) {
  using namespace onehour::test;
  if (count != 2) {
    std::fprintf(stderr, "tuning_test: expected DEVICE.json\n");
    return 2;
  }
  deviceFile = arguments[1];
  onehour::fake::takeMilliseconds(1);
  setenv("ONEHOUR_PLAN_CANDIDATES", "1", 1);
  setenv("ONEHOUR_PLAN_COMPILATION", "0", 1);  // slow, and no other search
  unsetenv("XDG_CACHE_HOME");                  // no files
  unsetenv("HOME");
  return run({{"further plans are tried after those that fail", goesOnBehindPlansThatFail},
              {"the alternative is taken where no plan runs", takesTheAlternativeLast},
              {"a file records what was tried", recordsWhatWasTried},
              {"the error names the last failure", namesTheLastFailure},
              {"a search that finds nothing ends", givesUp},
              {"a search with an alternative ends after 5 s", stopsAfterFiveSecondsAGraph},
              {"a pattern that failed twice is not tried again", leavesAPatternThatFailedTwice},
              {"a load's searches end after 60 s", stopsAfterAMinuteInAll},
              {"a skipped search is skipped by the other ranks", followsAnotherProcessThatSkipped},
              {"engines whose bits do not repeat are compared", comparesWhatDoesNotRepeat},
              {"plans are made ahead by threads", makesPlansAhead},
              {"processes share the work", sharesTheWork},
              {"processes that share do not wait for each other", waitsForNoneThatWaits},
              {"kernels are timed on numbers and leave zeros", triesOnNumbers}});
}
