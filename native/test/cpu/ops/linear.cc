// Tests of the linear layer.
#include <cstdint>
#include <vector>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {

void linear() {
  for (DataType type : {DataType::f32, DataType::bf16}) {
    for (const Shape& size : {Shape{5, 64, 10}, Shape{1, 7, 3}, Shape{16, 512, 1000}}) {
      const int64_t n = size[0], c = size[1], k = size[2];
      Tensor x = Tensor("x", type, {n, c}).random(), w = Tensor("w", type, {k, c}).random();
      Tensor b = vector("b", k).random(), dy = Tensor("dy", type, {n, k}).random();
      Tensor y("y", DataType::f32, {n, k}), dx("dx", type, {n, c});
      Tensor dw = Tensor("dw", DataType::f32, {k, c}).random(), db = vector("db", k).random();
      std::vector<double> yWant(static_cast<size_t>(n * k)), dxWant(static_cast<size_t>(n * c)),
          dwWant(static_cast<size_t>(k * c)), dbWant(static_cast<size_t>(k));
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < k; ++j) {
          double sum = b[j];
          for (int64_t l = 0; l < c; ++l) {
            sum += x[i * c + l] * w[j * c + l];
            dxWant[static_cast<size_t>(i * c + l)] += dy[i * k + j] * w[j * c + l];
            dwWant[static_cast<size_t>(j * c + l)] += dy[i * k + j] * x[i * c + l];
          }
          yWant[static_cast<size_t>(i * k + j)] = sum;
          dbWant[static_cast<size_t>(j)] += dy[i * k + j];
        }
      run("linear", {}, {x, w, b}, {y});
      compare("y", y, yWant, 1e-5);
      run("linear-backward-data", {}, {dy, w}, {dx});
      compare("dx", dx, dxWant, 1e-5);
      const std::vector<double> dwBefore = dw.values(), dbBefore = db.values();
      run("linear-backward-weight", {{"accumulate", "1"}}, {x, dy, dw, db}, {dw, db});
      std::vector<double> dwSum = dwWant, dbSum = dbWant;
      for (size_t i = 0; i < dwSum.size(); ++i) dwSum[i] += dwBefore[i];
      for (size_t i = 0; i < dbSum.size(); ++i) dbSum[i] += dbBefore[i];
      compare("accumulated dw", dw, dwSum, 1e-5);
      compare("accumulated db", db, dbSum, 1e-5);
      run("linear-backward-weight", {}, {x, dy}, {dw, db});
      compare("dw", dw, dwWant, 1e-5);
      compare("db", db, dbWant, 1e-5);
    }
  }
}

}  // namespace onehour::cpu::test
