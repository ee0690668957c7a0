// The optimizer: SGD with momentum over a flat range of parameters, one pass over the memory.
#include "../../core/ops/sgd.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "../../core/ops/dispatch.h"
#include "../runtime/parallel.h"
#include "../runtime/simd.h"
#include "kernels.h"

namespace onehour::cpu {
namespace {

enum class Form { gradient, velocity };

struct Buffers {
  float* w;
  float* g;
  float* v;
  void* copy;  // nullptr: none
};

struct Rates {
  float rate;        // η
  float momentum;    // m
  float correction;  // c = η_t / η_{t−1}
  float factor;      // of g; 0: the step is skipped
};

template <typename Copy>
Copy* copyAt(const Buffers& buffers, int64_t begin) {
  if constexpr (std::is_void_v<Copy>) {
    return nullptr;
  } else {
    return static_cast<Copy*>(buffers.copy) + begin;
  }
}

// Updates elements [begin, end) and returns the number of gradients that are not finite.
// `Copy` is the type of the copy, void for none.
template <Form form, bool nesterov, bool zero, typename Copy>
int64_t update(const Buffers& buffers, const Rates& rates, float decay, int64_t begin,
               int64_t end) {
  constexpr bool copies = !std::is_void_v<Copy>;
  uint32_t bad = 0;
  uint32_t* const count = &bad;
  float* const w = buffers.w + begin;
  float* const g = buffers.g + begin;
  float* const v = buffers.v + begin;
  Copy* const copy = copyAt<Copy>(buffers, begin);
  const float factor = rates.factor;
  const float rate = rates.rate;
  const float momentum = rates.momentum;
  const float kept = form == Form::velocity ? rates.momentum * rates.correction : rates.momentum;
  const int64_t length = end - begin;
  simd([=]() ONEHOUR_INLINE {
    uint32_t notFinite = 0;
#pragma GCC ivdep
    for (int64_t i = 0; i < length; ++i) {
      const uint32_t bits = std::bit_cast<uint32_t>(g[i]);
      notFinite += (bits & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
      const float gradient = factor * g[i] + decay * w[i];
      float updated;
      if constexpr (form == Form::gradient) {
        const float u = kept * v[i] + gradient;
        v[i] = u;
        updated = w[i] - rate * (nesterov ? gradient + momentum * u : u);
      } else {
        const float step = rate * gradient;
        const float u = kept * v[i] + step;
        v[i] = u;
        updated = w[i] - (nesterov ? step + momentum * u : u);
      }
      w[i] = updated;
      if constexpr (zero) g[i] = 0;
      if constexpr (copies) copy[i] = storeAny<Copy>(updated);
    }
    *count = notFinite;
  });
  return bad;
}

// A step that is skipped: w stays, and so does the momentum but for the correction of its form.
template <Form form, bool zero, typename Copy>
int64_t skip(const Buffers& buffers, const Rates& rates, int64_t begin, int64_t end) {
  int64_t bad = 0;
  Copy* const copy = copyAt<Copy>(buffers, 0);
  for (int64_t i = begin; i < end; ++i) {
    bad += std::isfinite(buffers.g[i]) ? 0 : 1;
    if constexpr (form == Form::velocity) buffers.v[i] *= rates.correction;
    if constexpr (zero) buffers.g[i] = 0;
    if constexpr (!std::is_void_v<Copy>) copy[i] = storeAny<Copy>(buffers.w[i]);
  }
  return bad;
}

template <Form form, bool nesterov, bool zero, typename Copy>
int64_t updateAll(const Buffers& buffers, const Rates& rates, const Trust& trust,
                  const std::vector<Segment>& segments) {
  const int64_t count = segments.back().end;
  int64_t bad = 0;
  const int threads = threadsFor(count);
  const auto work = [&](int, int64_t begin, int64_t end) {
    int64_t found = 0;
    auto segment = std::upper_bound(segments.begin(), segments.end(), begin,
                                    [](int64_t at, const Segment& s) { return at < s.end; });
    for (; segment != segments.end() && segment->begin < end; ++segment) {
      Rates own = rates;
      if (segment->adapts)
        own.rate *= trustRatio(trust, segment - segments.begin(), segment->decay);
      const int64_t from = std::max(begin, segment->begin);
      const int64_t to = std::min(end, segment->end);
      found += rates.factor == 0
                   ? skip<form, zero, Copy>(buffers, rates, from, to)
                   : update<form, nesterov, zero, Copy>(buffers, own, segment->decay, from, to);
    }
#pragma omp atomic
    bad += found;
  };
  parallelRanges(threads, count, 64, work);
  return bad;
}

using Update = int64_t (*)(const Buffers&, const Rates&, const Trust&, const std::vector<Segment>&);

template <Form form>
Update select(bool nesterov, bool zero, const Operand* copy) {
  return withFlag(nesterov, [&](auto nesterovTag) {
    return withFlag(zero, [&](auto zeroTag) -> Update {
      constexpr bool isNesterov = decltype(nesterovTag)::value;
      constexpr bool clears = decltype(zeroTag)::value;
      if (copy == nullptr) return updateAll<form, isNesterov, clears, void>;
      return withType(copy->type, [](auto tag) -> Update {
        return updateAll<form, isNesterov, clears, decltype(tag)>;
      });
    });
  });
}

std::unique_ptr<Kernel> sgd(const Instruction& instruction, PrepareContext&) {
  const SgdUpdate operands = sgdOf(instruction);
  const Operand* copy = operands.copy;
  const Update update = operands.velocity
                            ? select<Form::velocity>(operands.nesterov, operands.zero, copy)
                            : select<Form::gradient>(operands.nesterov, operands.zero, copy);
  const Buffers buffers{operands.w.as<float>(), operands.g.as<float>(), operands.v.as<float>(),
                        copy == nullptr ? nullptr : copy->data};
  const float* factor = operands.factor == nullptr ? nullptr : operands.factor->as<float>();
  return makeKernel([update, buffers, trust = operands.trust, factor, momentum = operands.momentum,
                     segments = operands.segments, schedule = operands.schedule.as<float>(),
                     finite = operands.finite.as<float>()](Stream&) {
    const Rates rates{schedule[0], momentum, schedule[1], factor == nullptr ? 1 : *factor};
    *finite = static_cast<float>(update(buffers, rates, trust, segments));
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {{"sgd",
           {"w:f32[L] g:f32[L] v:f32[L] schedule:f32[2] norms?:f32[S,3] factor?:f32[1] -> "
            "w:f32[L] v:f32[L] g?:f32[L] copy?:T[L] finite:f32[1]",
            sgd}}};
});

}  // namespace

}  // namespace onehour::cpu
