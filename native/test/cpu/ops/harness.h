// What the tests of CPU kernels share: guarded tensors, a device, kernels run once, comparisons.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../../../core/backend.h"
#include "../../../core/error.h"
#include "../../../cpu/runtime/backend.h"
#include "../../../cpu/runtime/simd.h"

namespace onehour::cpu::test {

inline int failures = 0;
inline std::string current;  // the running test

void fail(const std::string& message);
void check(bool condition, const std::string& message);

inline std::mt19937 generator;
// Every test starts with the same numbers, whichever ran before.
void reseed();
double normal();

constexpr size_t guardBytes = 256;
constexpr char guard = 0x5a;

using Shape = std::vector<int64_t>;

// A tensor in memory of its own, followed by sentinels. Values are seen as doubles.
class Tensor {
 public:
  Tensor(std::string name, DataType type, Shape shape) {
    operand_.name = std::move(name);
    operand_.arena = "temp";
    operand_.type = type;
    operand_.shape = std::move(shape);
    const size_t bytes = (operand_.bytes() + guardBytes + 63) / 64 * 64;
    memory_.reset(static_cast<char*>(std::aligned_alloc(64, bytes)), std::free);
    std::memset(memory_.get(), guard, bytes);
    operand_.data = memory_.get();
  }

  Tensor& fill(const std::function<double(int64_t)>& value) {
    for (int64_t i = 0; i < count(); ++i) set(i, value(i));
    return *this;
  }
  Tensor& random(double scale = 1, double shift = 0) {
    return fill([=](int64_t) { return scale * normal() + shift; });
  }

  Tensor as(std::string name) const {
    Tensor other = *this;
    other.operand_.name = std::move(name);
    return other;
  }

  const Operand& operand() const { return operand_; }
  const Shape& shape() const { return operand_.shape; }
  DataType type() const { return operand_.type; }
  int64_t count() const { return operand_.count(); }

  double operator[](int64_t i) const {
    switch (operand_.type) {
      case DataType::f32:
        return operand_.as<float>()[i];
      case DataType::bf16:
        return load(operand_.as<bf16>()[i]);
      case DataType::u8:
        return operand_.as<uint8_t>()[i];
      default:
        return operand_.as<int32_t>()[i];
    }
  }

  void set(int64_t i, double value) {
    switch (operand_.type) {
      case DataType::f32:
        operand_.as<float>()[i] = static_cast<float>(value);
        break;
      case DataType::bf16:
        operand_.as<bf16>()[i] = store<bf16>(static_cast<float>(value));
        break;
      case DataType::u8:
        operand_.as<uint8_t>()[i] = static_cast<uint8_t>(value);
        break;
      default:
        operand_.as<int32_t>()[i] = static_cast<int32_t>(value);
    }
  }

  std::vector<double> values() const {
    std::vector<double> result(static_cast<size_t>(count()));
    for (int64_t i = 0; i < count(); ++i) result[static_cast<size_t>(i)] = (*this)[i];
    return result;
  }

  bool guarded() const {
    for (size_t i = 0; i < guardBytes; ++i) {
      if (memory_.get()[operand_.bytes() + i] != guard) return false;
    }
    return true;
  }

 private:
  Operand operand_;
  std::shared_ptr<char> memory_;
};

inline Tensor vector(const char* name, int64_t count) { return {name, DataType::f32, {count}}; }

struct ImageSize {
  int64_t n, h, w, c;
};

// |got − expected| ≤ tolerance·(|expected| + scale), where a bf16 result is also allowed its
// rounding; scale is the root mean square of what is expected, unless given.
void compare(const std::string& what, const Tensor& got, const std::vector<double>& expected,
             double tolerance, double scale = -1);

struct Device {
  std::shared_ptr<Backend> backend;
  std::unique_ptr<Stream> stream;
  explicit Device(int threads)
      : backend(createCpuBackend(threads)), stream(backend->createStream("compute")) {}
};

inline Device* device = nullptr;

using Attributes = std::vector<std::pair<std::string, std::string>>;

std::unique_ptr<Kernel> prepare(const std::string& op, const Attributes& attributes,
                                const std::vector<Tensor>& inputs,
                                const std::vector<Tensor>& outputs);
// Once, with a workspace of its own.
void run(Kernel& kernel, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs);
void run(const std::string& op, const Attributes& attributes, const std::vector<Tensor>& inputs,
         const std::vector<Tensor>& outputs);

template <typename Body>
void expectError(const std::string& code, const std::string& part, const Body& body) {
  try {
    body();
    fail("expected an error that says " + part);
  } catch (const Error& error) {
    check(error.code == code, "expected code " + code + ", got " + error.code);
    check(std::string(error.what()).find(part) != std::string::npos,
          std::string("expected an error that says ") + part + ", got " + error.what());
  }
}

}  // namespace onehour::cpu::test
