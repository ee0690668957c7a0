// Tests of the update: both forms of momentum, with and without Nesterov, and its segments.
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "harness.h"
#include "tests.h"

namespace onehour::cpu::test {

void optimizer() {
  const int64_t count = 50007;
  const double rate = 0.3, momentum = 0.9, correction = 0.5;
  Tensor schedule = vector("schedule", 2);
  schedule.set(0, rate);
  schedule.set(1, correction);
  const std::vector<std::pair<int64_t, double>> segments{{1000, 1e-2}, {7, 0}, {49000, 1e-4}};
  std::string text;
  for (const auto& [length, decay] : segments) {
    text += (text.empty() ? "" : ",") + std::to_string(length) + ":" + std::to_string(decay);
  }
  for (bool velocity : {false, true})
    for (bool nesterov : {false, true})
      for (bool zero : {false, true})
        for (bool copies : {false, true}) {
          Tensor w = vector("w", count).random(), g = vector("g", count).random();
          Tensor v = vector("v", count).random(), finite = vector("finite", 1);
          Tensor copy("copy", DataType::bf16, {count});
          std::vector<double> wWant, vWant;
          const std::vector<double> gBefore = g.values();
          for (int64_t i = 0; i < count; ++i) {
            const double decay = i < 1000 ? 1e-2 : i < 1007 ? 0 : 1e-4;
            const double gradient = g[i] + decay * w[i];
            const double step = velocity ? rate * gradient : gradient;
            const double u = momentum * (velocity ? correction : 1) * v[i] + step;
            const double move = nesterov ? step + momentum * u : u;
            vWant.push_back(u);
            wWant.push_back(w[i] - (velocity ? 1 : rate) * move);
          }
          std::vector<Tensor> outputs{w, v, finite};
          if (zero) outputs.push_back(g);
          if (copies) outputs.push_back(copy);
          const Attributes attributes{{"form", velocity ? "velocity" : "gradient"},
                                      {"nesterov", nesterov ? "1" : "0"},
                                      {"momentum", "0.9"},
                                      {"segments", text},
                                      {"zero", zero ? "1" : "0"}};
          run("sgd", attributes, {w, g, v, schedule}, outputs);
          compare("w", w, wWant, 1e-6);
          compare("v", v, vWant, 1e-6);
          compare("g", g, zero ? std::vector<double>(gBefore.size()) : gBefore, 0);
          if (copies) {
            bool same = true;
            for (int64_t i = 0; i < count; ++i) {
              same = same && copy[i] == load(store<bf16>(static_cast<float>(w[i])));
            }
            check(same, "the copy differs from w in bf16");
          }
          check(finite[0] == 0, "finite gradients were counted");
          g.random();
          g.set(3, std::nan(""));
          g.set(30000, std::numeric_limits<double>::infinity());
          g.set(50006, -std::numeric_limits<double>::infinity());
          run("sgd", attributes, {w, g, v, schedule}, outputs);
          check(finite[0] == 3, "three gradients are not finite");
        }
  for (const char* bad : {"50006:0", "50007", "50007:0,", "0:0,50007:0", "-1:0,50008:0", "x:0"}) {
    Tensor w = vector("w", count), g = vector("g", count), v = vector("v", count);
    expectError("ERR_SHAPE", "segments", [&] {
      prepare("sgd",
              {{"form", "gradient"}, {"nesterov", "1"}, {"momentum", "0.9"}, {"segments", bad}},
              {w, g, v, schedule}, {w, v, vector("finite", 1)});
    });
  }
}

}  // namespace onehour::cpu::test
