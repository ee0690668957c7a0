// Tests of pooling.
#include <cstdint>
#include <string>
#include <vector>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {
namespace {

void pooling(DataType type, const ImageSize& size, int64_t window, int64_t stride,
             int64_t padding) {
  const int64_t p = (size.h + 2 * padding - window) / stride + 1;
  const int64_t q = (size.w + 2 * padding - window) / stride + 1;
  Tensor x = Tensor("x", type, {size.n, size.h, size.w, size.c}).random();
  Tensor y("y", type, {size.n, p, q, size.c});
  Tensor inference("y", type, y.shape()), dx("dx", type, x.shape());
  Tensor dy = Tensor("dy", type, y.shape()).random();
  Tensor index("index", DataType::u8, y.shape());
  std::vector<double> yWant(static_cast<size_t>(y.count())), dxWant(static_cast<size_t>(x.count()));
  for (int64_t i = 0; i < y.count(); ++i) {
    const int64_t c = i % size.c, column = i / size.c % q, row = i / size.c / q % p;
    const int64_t n = i / size.c / q / p;
    int64_t best = -1;
    for (int64_t r = 0; r < window; ++r)
      for (int64_t s = 0; s < window; ++s) {
        const int64_t a = row * stride + r - padding, b = column * stride + s - padding;
        if (a < 0 || a >= size.h || b < 0 || b >= size.w) continue;
        const int64_t at = ((n * size.h + a) * size.w + b) * size.c + c;
        if (best < 0 || x[at] > x[best]) best = at;
      }
    yWant[static_cast<size_t>(i)] = x[best];
    dxWant[static_cast<size_t>(best)] += dy[i];
  }
  const auto pair = [](int64_t value) {
    return std::to_string(value) + "," + std::to_string(value);
  };
  const Attributes attributes{
      {"window", pair(window)}, {"stride", pair(stride)}, {"padding", pair(padding)}};
  run("max-pool", attributes, {x}, {y, index});
  compare("y", y, yWant, 0);
  run("max-pool", attributes, {x}, {inference});
  compare("y of inference", inference, yWant, 0);
  run("max-pool-backward", attributes, {dy, index}, {dx});
  compare("dx", dx, dxWant, type == DataType::bf16 ? 2e-2 : 1e-6);

  Tensor mean("y", type, {size.n, size.c});
  Tensor dMean = Tensor("dy", type, {size.n, size.c}).random();
  const double area = static_cast<double>(size.h * size.w);
  run("global-average-pool", {}, {x}, {mean});
  std::vector<double> meanWant(static_cast<size_t>(mean.count()));
  for (int64_t i = 0; i < x.count(); ++i) {
    const int64_t at = i / (size.h * size.w * size.c) * size.c + i % size.c;
    meanWant[static_cast<size_t>(at)] += x[i] / area;
    dxWant[static_cast<size_t>(i)] = dMean[at] / area;
  }
  compare("mean", mean, meanWant, 1e-5);
  run("global-average-pool-backward", {}, {dMean}, {dx});
  compare("dx of the mean", dx, dxWant, 1e-6);
}

}  // namespace

void poolings() {
  for (DataType type : {DataType::f32, DataType::bf16}) {
    pooling(type, {2, 11, 13, 64}, 3, 2, 1);
    pooling(type, {1, 9, 8, 16}, 2, 2, 0);
    pooling(type, {2, 8, 7, 5}, 3, 2, 1);
    pooling(type, {1, 7, 7, 130}, 3, 1, 1);
  }
}

}  // namespace onehour::cpu::test
