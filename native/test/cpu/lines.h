// Lines made from the signatures of all ops, and what the CPU's kernels compute of them.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "../../core/backend.h"

namespace onehour::test {

inline std::mt19937_64 generator;

inline size_t below(size_t bound) { return generator() % bound; }

std::vector<std::string> split(const std::string& text, char separator);
std::string join(const std::vector<std::string>& parts, char separator);

// Lines that the kernels take: of each op with and without its optional operands, in both types, in
// sizes that suit vectors and in sizes that leave remainders everywhere.
std::vector<std::string> linesOf(const KernelTable& kernels);

// Numbers of every output of a line.
using Results = std::vector<std::vector<double>>;

class LineRunner {
 public:
  explicit LineRunner(std::shared_ptr<Backend> backend);

  int threads() const { return backend_->properties().threads; }
  const KernelTable& kernels() const { return backend_->kernels(); }

  // What a line computes, of numbers that the generator draws; nothing where it is too large.
  // Throws Error where the line is refused, and another exception where it wrote beyond its
  // operands or its workspace.
  std::optional<Results> run(const std::string& line);

 private:
  template <typename Body>
  void onStream(Body body);

  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace onehour::test
