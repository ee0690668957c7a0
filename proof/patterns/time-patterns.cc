// Times convolutions in every pattern that cuDNN may compute them in, and those of 1×1 filters as
// products of matrices, in bf16 and fp16:
//   time_patterns THREADS SECONDS [DEVICE.json]
// Reads the shapes, a line each, most important first: "N H W C K R S STRIDE PADDING INPUT", where
// INPUT is 0 for a network's first convolution. Prints a line of JSON for each pattern, with why it
// has no engine where that is so. Plans are made by the threads in at most two thirds of the time.
// For a device that is only described they are made and not run.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <sstream>
#include <thread>

#include "../../native/cuda/cudnn/plan-kernel.h"
#include "../../native/cuda/cudnn/trial.h"
#include "../../native/cuda/runtime/cublas.h"
#include "patterns.h"

namespace onehour::cuda {
namespace {

constexpr float never = std::numeric_limits<float>::infinity();
constexpr double makingShare = 2.0 / 3;  // of the time

struct Shape {
  Convolution problem;
  bool hasInput;
};

struct Made {
  std::string json;
  EngineTraits engine;
};

// A pattern of a shape, with what was found for it.
struct Job {
  size_t shape;
  Convolution problem;
  const ConvPattern* pattern;
  std::vector<Made> plans;
  std::vector<PatternGraph::Operand> operands;
  std::string reason = "no time was left";
};

std::vector<Shape> readShapes(std::istream& input) {
  std::vector<Shape> shapes;
  for (std::string line; std::getline(input, line);) {
    Convolution c{};
    int64_t stride = 0, padding = 0;
    int hasInput = 0;
    std::istringstream numbers(line);
    numbers >> c.n >> c.h >> c.w >> c.c >> c.k >> c.r >> c.s >> stride >> padding >> hasInput;
    if (!numbers || stride < 1) throw Error("ERR_USAGE", "onehour", "cannot read \"" + line + "\"");
    c.p = (c.h + 2 * padding - c.r) / stride + 1;
    c.q = (c.w + 2 * padding - c.s) / stride + 1;
    c.stride = {stride, stride};
    c.padding = {padding, padding};
    c.dilation = {1, 1};
    c.groups = 1;
    shapes.push_back({c, hasInput != 0});
  }
  return shapes;
}

// Of all shapes, those first whose engines are there: a moment each.
std::vector<Job> jobsOf(const std::vector<Shape>& shapes) {
  std::vector<Job> jobs;
  for (const bool compiled : {false, true}) {
    for (size_t i = 0; i < shapes.size(); ++i) {
      for (const DataType type : {DataType::bf16, DataType::f16}) {
        for (const ConvPattern& pattern : convPatterns()) {
          if (pattern.usesInput && !shapes[i].hasInput) continue;
          if (pattern.engine == ConvPattern::Engine::chain && type != DataType::f16) continue;
          if ((pattern.engine == ConvPattern::Engine::compiled) != compiled) continue;
          Convolution problem = shapes[i].problem;
          problem.type = type;
          jobs.push_back({i, problem, &pattern, {}, {}});
        }
      }
    }
  }
  return jobs;
}

void make(const Target& target, Job& job) {
  try {
    const PatternGraph pattern = job.pattern->build(target, job.problem);
    job.operands = pattern.operands;
    Limits limits;
    limits.plans = 4;
    limits.compiled = 1;
    job.reason = proposePlans(target, pattern.graph, limits, [&](const Plan& plan) {
      job.plans.push_back({plan.json(), plan.engine()});
      return true;
    });
  } catch (const Error& error) {
    job.reason = error.what();
  }
}

double secondsSinceStart() {
  static const auto start = std::chrono::steady_clock::now();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void makeAll(std::vector<Job>& jobs, int threads, double seconds,
             const std::function<std::unique_ptr<Target>()>& makeTarget) {
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      try {
        const std::unique_ptr<Target> target = makeTarget();
        for (size_t job = next++; job < jobs.size(); job = next++) {
          if (secondsSinceStart() < seconds) make(*target, jobs[job]);
        }
      } catch (const std::exception& error) {  // the other threads do its work
        std::fprintf(stderr, "time_patterns: a thread has no handle: %s\n", error.what());
      }
    });
  }
}

std::string quoted(std::string text) {
  for (char& character : text) {
    if (character < ' ' || character == '"' || character == '\\') character = ' ';
  }
  return '"' + text + '"';
}

struct Finding {
  std::string engine;
  std::optional<float> milliseconds;
};

void print(size_t shape, DataType type, const std::string& pattern, size_t bytes,
           const std::optional<Finding>& finding, const std::string& reason) {
  std::printf("{\"shape\":%zu,\"type\":\"%s\",\"pattern\":%s,\"bytes\":%zu,", shape,
              std::string(nameOf(type)).c_str(), quoted(pattern).c_str(), bytes);
  if (finding) {
    std::printf("\"engine\":%s,\"milliseconds\":", quoted(finding->engine).c_str());
    if (finding->milliseconds) {
      std::printf("%.6f}\n", static_cast<double>(*finding->milliseconds));
    } else {
      std::printf("null}\n");
    }
  } else {
    std::printf("\"engine\":null,\"reason\":%s}\n", quoted(reason).c_str());
  }
  std::fflush(stdout);
}

size_t bytesOf(const Job& job) {
  size_t sum = 0;
  for (const auto& operand : job.operands) sum += operand.bytes;
  return sum;
}

// Memory of the GPU that holds random numbers.
class Numbers {
 public:
  explicit Numbers(size_t bytes) {
    ONEHOUR_CUDA(cudaMalloc(memory_.out(), bytes));
    Operand operand;
    operand.type = DataType::bf16;
    operand.shape = {static_cast<int64_t>(bytes / 2)};
    operand.data = memory_.get();
    Instruction all;
    all.outputs = {operand};
    numbers_.emplace(all, stream_.handle());
  }
  std::byte* at(size_t offset) const { return static_cast<std::byte*>(memory_.get()) + offset; }

 private:
  Owned<void*, cudaFree> memory_;
  CudaStream stream_{0};
  std::optional<RandomOperands> numbers_;
};

size_t alignUp(size_t bytes) { return (bytes + 255) / 256 * 256; }

// The fastest plan of a pattern.
std::optional<Finding> timePlans(Target& target, Trial& trial, const Numbers& numbers, Job& job) {
  std::vector<Binding> bindings;
  size_t offset = 0;
  for (const auto& [id, bytes] : job.operands) {
    bindings.push_back({static_cast<TensorId>(id), numbers.at(offset)});
    offset += alignUp(bytes);
  }
  std::optional<Finding> best;
  for (const Made& made : job.plans) {
    try {
      std::optional<Plan> plan = parsePlan(target, made.json, made.engine);
      if (!plan) continue;
      PlanKernel kernel(target, std::make_shared<const Plan>(std::move(*plan)), bindings);
      const float time = trial.time(kernel, best ? *best->milliseconds : never);
      if (!best || time < *best->milliseconds) best = {made.engine.words, time};
    } catch (const Error& error) {
      forgive(error);
      job.reason = error.what();
    }
  }
  return best;
}

// A convolution of 1×1 filters and its gradients as products; cuBLASLt orders by columns.
void timeProducts(Trial& trial, const Numbers& numbers, size_t shape, const Convolution& problem) {
  const int64_t rows = problem.pixels();
  const auto matrix = [&](size_t place, int64_t height, int64_t width) {
    const size_t most = alignUp(2 * static_cast<size_t>(rows * std::max(problem.c, problem.k)));
    return Matrix{numbers.at(place * most), problem.type, height, width};
  };
  const Matrix x = matrix(0, problem.c, rows), y = matrix(1, problem.k, rows),
               w = matrix(2, problem.c, problem.k);
  struct Form {
    const char* name;
    Matrix a, b, d;
    ProductOptions options;
  };
  const Form forms[] = {{"forward as a product", w, x, y, {.transposeA = true}},
                        {"gradient of images as a product", w, y, x, {}},
                        {"gradient of filters as a product", x, y, w, {.transposeB = true}}};
  for (const auto& [name, a, b, d, options] : forms) {
    const size_t bytes =
        2 * static_cast<size_t>(a.rows * a.columns + b.rows * b.columns + d.rows * d.columns);
    try {
      const auto product =
          std::make_shared<Product>(cublasHandle(currentDevice()), a, b, d, options);
      const auto kernel = makeKernel([product](Stream& stream) { product->run(stream); },
                                     product->workspaceBytes());
      print(shape, problem.type, name, bytes, Finding{"cuBLASLt", trial.time(*kernel, never)}, "");
    } catch (const Error& error) {
      forgive(error);
      print(shape, problem.type, name, bytes, {}, error.what());
    }
  }
}

bool isProduct(const Convolution& problem) {
  return problem.r * problem.s == 1 && problem.stride.height == 1 && problem.padding.height == 0;
}

void timeAll(std::vector<Job>& jobs, double seconds) {
  size_t most = 0;
  for (const Job& job : jobs) {
    size_t sum = 0;
    for (const auto& operand : job.operands) sum += alignUp(operand.bytes);
    const Convolution& problem = job.problem;
    const auto rows = static_cast<size_t>(problem.pixels());
    most = std::max(
        {most, sum, 3 * alignUp(2 * rows * static_cast<size_t>(std::max(problem.c, problem.k)))});
  }
  const Numbers numbers(most);
  Target& target = Target::current();
  Trial trial(target);
  for (Job& job : jobs) {
    if (secondsSinceStart() > seconds) job.plans.clear(), job.reason = "no time was left";
    const std::optional<Finding> finding = timePlans(target, trial, numbers, job);
    print(job.shape, job.problem.type, job.pattern->name, bytesOf(job), finding, job.reason);
    if (job.pattern == &convPatterns().front() && isProduct(job.problem)) {
      timeProducts(trial, numbers, job.shape, job.problem);
    }
  }
}

int run(int threads, double seconds, const char* description) {
  secondsSinceStart();
  std::vector<Job> jobs = jobsOf(readShapes(std::cin));
  if (description != nullptr) {
    std::ifstream file(description, std::ios::binary);
    const std::string device{std::istreambuf_iterator<char>(file), {}};
    makeAll(jobs, threads, seconds, [&] { return std::make_unique<Target>(device); });
    for (const Job& job : jobs) {
      std::optional<Finding> finding;
      if (!job.plans.empty()) finding = {job.plans.front().engine.words, {}};
      print(job.shape, job.problem.type, job.pattern->name, bytesOf(job), finding, job.reason);
    }
    return 0;
  }
  Target::current();  // the first handle is made alone
  makeAll(jobs, threads, seconds * makingShare,
          [ordinal = currentDevice()] { return Target::another(ordinal); });
  timeAll(jobs, seconds);
  return 0;
}

}  // namespace
}  // namespace onehour::cuda

int main(int count, char** arguments) {
  try {
    const int threads = count < 3 ? 0 : std::atoi(arguments[1]);
    const double seconds = count < 3 ? 0 : std::atof(arguments[2]);
    if (threads < 1 || seconds <= 0) {
      throw std::runtime_error("expected THREADS SECONDS [DEVICE.json]");
    }
    return onehour::cuda::run(threads, seconds, count > 3 ? arguments[3] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "time_patterns: %s\n", error.what());
    return 2;
  }
}
