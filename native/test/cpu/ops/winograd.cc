// Tests of Winograd's algorithm against the naive loops, for shapes of every kind of remainder.
#include "../../../cpu/winograd/winograd.h"

#include <cstdint>
#include <vector>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {
namespace {

// Also where conv2d prefers the direct algorithm. The sums over channels are shorter than the
// direct algorithm's, so the tolerance is tighter.
void winogradCase(const WinogradProblem& size) {
  Tensor x = Tensor("x", DataType::f32, {size.n, size.h, size.w, size.c}).random();
  Tensor w = Tensor("w", DataType::f32, {size.k, 3, 3, size.c}).random();
  Tensor dy = Tensor("dy", DataType::f32, {size.n, size.h, size.w, size.k}).random();
  Tensor y("y", DataType::f32, dy.shape()), dx("dx", DataType::f32, x.shape());
  Tensor dw("dw", DataType::f32, w.shape());
  const std::vector<double> xs = x.values(), ws = w.values(), dys = dy.values();
  std::vector<double> yWant(dys.size()), dxWant(xs.size()), dwWant(ws.size());
  for (int64_t pixel = 0; pixel < size.n * size.h * size.w; ++pixel)
    for (int64_t r = -1; r <= 1; ++r)
      for (int64_t s = -1; s <= 1; ++s) {
        const int64_t row = pixel / size.w % size.h + r, column = pixel % size.w + s;
        if (row < 0 || row >= size.h || column < 0 || column >= size.w) continue;
        for (int64_t k = 0; k < size.k; ++k)
          for (int64_t c = 0; c < size.c; ++c) {
            const auto xi = static_cast<size_t>((pixel + r * size.w + s) * size.c + c);
            const auto wi = static_cast<size_t>((k * 9 + 4 + 3 * r + s) * size.c + c);
            const auto yi = static_cast<size_t>(pixel * size.k + k);
            yWant[yi] += xs[xi] * ws[wi];
            dxWant[xi] += dys[yi] * ws[wi];
            dwWant[wi] += dys[yi] * xs[xi];
          }
      }
  const auto data = [](const Tensor& tensor) { return tensor.operand().as<float>(); };
  for (int threads : {1, device->backend->properties().threads}) {
    const std::vector<double> before = y.values(), dxBefore = dx.values();
    run(*winogradForward(size, data(x), data(w), data(y), threads), {x, w}, {y});
    run(*winogradBackwardData(size, data(dy), data(w), data(dx), threads), {dy, w}, {dx});
    if (threads > 1) {
      check(y.values() == before, "y depends on the number of threads");
      check(dx.values() == dxBefore, "dx depends on the number of threads");
    }
    compare("y", y, yWant, 3e-6);
    compare("dx", dx, dxWant, 3e-6);
    for (bool accumulate : {false, true}) {
      dw.fill([](int64_t i) { return static_cast<double>(i % 7); });
      std::vector<double> want = dwWant;
      for (size_t i = 0; accumulate && i < want.size(); ++i) want[i] += static_cast<double>(i % 7);
      run(*winogradBackwardWeight(size, data(x), data(dy), data(dw), accumulate, threads), {x, dy},
          {dw});
      compare("dw", dw, want, 1e-5);
    }
  }
}

}  // namespace

void winogradConvolutions() {
  const WinogradProblem cases[] = {
      {1, 1, 1, 1, 1},    {3, 2, 3, 5, 7},     {2, 7, 7, 17, 33},   {1, 9, 6, 64, 32},
      {4, 5, 13, 31, 16}, {1, 14, 14, 70, 66}, {1, 4, 4, 200, 130}, {3, 11, 12, 32, 35},
  };
  for (const WinogradProblem& size : cases) winogradCase(size);
}

}  // namespace onehour::cpu::test
