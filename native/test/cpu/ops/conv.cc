// Tests of convolution against its seven loops.
#include <cstdint>
#include <string>
#include <vector>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {
namespace {

struct ConvCase {
  int64_t n, h, w, c, k, r, s, stride, padding;
};

void convolution(const ConvCase& size, DataType type) {
  const int64_t p = (size.h + 2 * size.padding - size.r) / size.stride + 1;
  const int64_t q = (size.w + 2 * size.padding - size.s) / size.stride + 1;
  Tensor x = Tensor("x", type, {size.n, size.h, size.w, size.c}).random();
  Tensor w = Tensor("w", type, {size.k, size.r, size.s, size.c}).random();
  Tensor dy = Tensor("dy", type, {size.n, p, q, size.k}).random();
  Tensor y("y", type, dy.shape());
  Tensor dx("dx", type, x.shape());
  Tensor dw = Tensor("dw", DataType::f32, w.shape()).random();
  std::vector<double> yWant(static_cast<size_t>(y.count()));
  std::vector<double> dxWant(static_cast<size_t>(dx.count()));
  std::vector<double> dwWant(static_cast<size_t>(dw.count()));
  const std::vector<double> dwBefore = dw.values();
  const std::vector<double> xs = x.values(), ws = w.values(), dys = dy.values();
  for (int64_t n = 0; n < size.n; ++n)
    for (int64_t i = 0; i < p; ++i)
      for (int64_t j = 0; j < q; ++j)
        for (int64_t r = 0; r < size.r; ++r)
          for (int64_t s = 0; s < size.s; ++s) {
            const int64_t row = i * size.stride + r - size.padding;
            const int64_t column = j * size.stride + s - size.padding;
            if (row < 0 || row >= size.h || column < 0 || column >= size.w) continue;
            for (int64_t k = 0; k < size.k; ++k)
              for (int64_t c = 0; c < size.c; ++c) {
                const auto yi = static_cast<size_t>(((n * p + i) * q + j) * size.k + k);
                const auto xi =
                    static_cast<size_t>(((n * size.h + row) * size.w + column) * size.c + c);
                const auto wi = static_cast<size_t>(((k * size.r + r) * size.s + s) * size.c + c);
                yWant[yi] += xs[xi] * ws[wi];
                dxWant[xi] += dys[yi] * ws[wi];
                dwWant[wi] += dys[yi] * xs[xi];
              }
          }
  const std::string stride = std::to_string(size.stride), padding = std::to_string(size.padding);
  const Attributes attributes{{"stride", stride + "," + stride},
                              {"padding", padding + "," + padding}};
  run("conv2d", attributes, {x, w}, {y});
  compare("y", y, yWant, 1e-5);
  run("conv2d-backward-data", attributes, {dy, w}, {dx});
  compare("dx", dx, dxWant, 1e-5);
  run("conv2d-backward-weight", attributes, {x, dy}, {dw});
  compare("dw", dw, dwWant, 2e-5);
  for (int64_t i = 0; i < dw.count(); ++i) dw.set(i, dwBefore[static_cast<size_t>(i)]);
  Attributes accumulate = attributes;
  accumulate.emplace_back("accumulate", "1");
  run("conv2d-backward-weight", accumulate, {x, dy, dw}, {dw});
  for (size_t i = 0; i < dwWant.size(); ++i) dwWant[i] += dwBefore[i];
  compare("accumulated dw", dw, dwWant, 2e-5);
}

}  // namespace

void convolutions() {
  const ConvCase cases[] = {
      {2, 9, 7, 16, 16, 3, 3, 1, 1},   {1, 8, 8, 16, 32, 3, 3, 2, 1},
      {3, 9, 9, 16, 32, 1, 1, 2, 0},   {2, 7, 5, 64, 64, 1, 1, 1, 0},
      {2, 15, 13, 1, 16, 3, 3, 1, 1},  {1, 23, 25, 3, 64, 7, 7, 2, 3},
      {2, 6, 5, 5, 7, 3, 2, 1, 1},     {1, 5, 5, 1, 1, 5, 5, 1, 0},
      {1, 4, 4, 17, 33, 3, 3, 1, 1},   {2, 12, 12, 4, 16, 3, 3, 1, 1},
      {1, 7, 7, 130, 70, 1, 1, 1, 0},  {5, 28, 28, 1, 16, 3, 3, 1, 1},
      {1, 17, 16, 33, 40, 3, 3, 1, 1},  // by Winograd's algorithm in fp32
  };
  for (const ConvCase& size : cases) {
    for (DataType type : {DataType::f32, DataType::bf16}) convolution(size, type);
  }
  Tensor x("x", DataType::f32, {1, 8, 8, 4}), w("w", DataType::f32, {16, 3, 3, 3});
  Tensor y("y", DataType::f32, {1, 8, 8, 16});
  const Attributes same{{"stride", "1,1"}, {"padding", "1,1"}};
  expectError("ERR_SHAPE", "[conv2d] expected w:f32[?,?,?,4], got w:f32[16,3,3,3]", [&] {
    prepare("conv2d", same, {x, w}, {y});
  });
  expectError("ERR_SHAPE", "[conv2d-backward-weight] expected", [&] {
    prepare("conv2d-backward-weight", same, {x, y.as("dy")},
            {Tensor("dw", DataType::bf16, {16, 3, 3, 4})});
  });
  expectError("ERR_SHAPE", "stride", [&] {
    prepare("conv2d", {{"stride", "0,1"}, {"padding", "1,1"}},
            {x, Tensor("w", DataType::f32, {16, 3, 3, 4})}, {y});
  });
  expectError("ERR_SHAPE", "no larger than the padded input", [&] {
    prepare("conv2d", same, {x, Tensor("w", DataType::f32, {16, 11, 3, 4})}, {y});
  });
}

}  // namespace onehour::cpu::test
