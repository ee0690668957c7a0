// Tests of elementwise kernels, of roundings to bf16, and of the normalisation of images.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {

void elementwise() {
  for (DataType type : {DataType::f32, DataType::bf16}) {
    for (int64_t count : {int64_t{1}, int64_t{77}, int64_t{40003}}) {
      Tensor a = Tensor("a", type, {count}).random(), b = Tensor("b", type, {count}).random();
      Tensor y("y", type, {count});
      for (bool relu : {false, true}) {
        run("add", {{"relu", relu ? "1" : "0"}}, {a, b}, {y});
        std::vector<double> want;
        for (int64_t i = 0; i < count; ++i) want.push_back(a[i] + b[i]);
        if (relu) {
          for (double& value : want) value = std::max(value, 0.0);
        }
        compare("sum", y, want, 1e-6);
      }
      run("relu", {}, {a.as("x")}, {y});
      std::vector<double> want, back, converted;
      for (int64_t i = 0; i < count; ++i) {
        want.push_back(std::max(a[i], 0.0));
        back.push_back(a[i] > 0 ? b[i] : 0);
      }
      compare("relu", y, want, 0);
      Tensor dx("dx", type, {count});
      run("relu-backward", {}, {b.as("dy"), y}, {dx});
      compare("relu-backward", dx, back, 0);
      for (DataType other : {DataType::f32, DataType::bf16}) {
        Tensor copy("y", other, {count});
        run("copy", {}, {a.as("x")}, {copy});
        compare("copy", copy, a.values(), 0);
      }
    }
  }
  Tensor x = Tensor("x", DataType::f32, {5, 7}).random();
  std::vector<double> want = x.values();
  for (double& value : want) value *= 0.25;
  run("scale", {{"factor", "0.25"}}, {x}, {x.as("y")});
  compare("scaled in place", x, want, 1e-6);

  // bf16: ties to even, overflow to infinity, NaN kept, denormals.
  const std::pair<uint32_t, uint16_t> roundings[] = {
      {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x7f7fffff, 0x7f80},
      {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0x00008001, 0x0001},
      {0x80000000, 0x8000}, {0xffffffff, 0xffff}};
  Tensor from("x", DataType::f32, {std::size(roundings)});
  Tensor to("y", DataType::bf16, {std::size(roundings)});
  for (size_t i = 0; i < std::size(roundings); ++i) {
    from.operand().as<uint32_t>()[i] = roundings[i].first;
  }
  run("copy", {}, {from}, {to});
  for (size_t i = 0; i < std::size(roundings); ++i) {
    check(to.operand().as<uint16_t>()[i] == roundings[i].second,
          "bf16 rounding of case " + std::to_string(i));
  }
}

void normalizedInput() {
  for (DataType type : {DataType::f32, DataType::bf16}) {
    for (int64_t channels : {1, 3}) {
      for (int64_t padded : {channels, int64_t{4}}) {
        const int64_t n = 3, h = 5, w = 7;
        Tensor x("x", DataType::u8, {n, h, w, channels});
        x.fill([](int64_t) { return static_cast<double>(generator() % 256); });
        Tensor flip("flip", DataType::u8, {n});
        flip.fill([](int64_t i) { return i % 2 * 255; });
        Tensor y("y", type, {n, h, w, padded});
        const std::vector<double> mean{0.3, 0.4, 0.5}, std{0.2, 0.25, 0.3};
        const Attributes attributes{{"mean", channels == 1 ? "0.3" : "0.3,0.4,0.5"},
                                    {"std", channels == 1 ? "0.2" : "0.2,0.25,0.3"}};
        for (bool flips : {false, true}) {
          std::vector<Tensor> inputs{x};
          if (flips) inputs.push_back(flip);
          run("normalize-input", attributes, inputs, {y});
          std::vector<double> want;
          for (int64_t i = 0; i < y.count(); ++i) {
            const int64_t c = i % padded, column = i / padded % w, row = i / padded / w;
            if (c >= channels) {
              want.push_back(0);
              continue;
            }
            const bool mirrored = flips && flip[row / h] != 0;
            const int64_t source = mirrored ? w - 1 - column : column;
            const auto at = static_cast<size_t>(c);
            want.push_back((x[(row * w + source) * channels + c] / 255 - mean[at]) / std[at]);
          }
          compare("y", y, want, 1e-6);
        }
      }
    }
  }
  expectError("ERR_SHAPE", "values of mean and std", [] {
    prepare("normalize-input", {{"mean", "0.1"}, {"std", "0.1"}},
            {Tensor("x", DataType::u8, {1, 2, 2, 3})}, {Tensor("y", DataType::f32, {1, 2, 2, 3})});
  });
}

}  // namespace onehour::cpu::test
