// The optimizer: SGD with momentum over a flat range of parameters, one pass over the memory.
#include <algorithm>
#include <cfloat>
#include <limits>

#include "../../core/ops/sgd.h"
#include "../runtime/cuda.h"
#include "../runtime/upload.h"
#include "../tiling/block-reduce.cuh"
#include "../tiling/pack.cuh"
#include "../tiling/sgd-tiling.h"
#include "kernels.h"

namespace onehour::cuda {
namespace {

// Blocks that a multiprocessor holds; computing the rates of segments takes more registers.
template <bool adapts>
constexpr int residentBlocks = adapts ? 2 : 4;

struct Rule {
  bool velocity, nesterov;
  float momentum;  // m
};

template <typename Copy>
struct Tensors {
  float* w;
  float* g;
  float* v;
  Copy* copy;  // null: none
  bool zero;   // clears g
};

// Gradients that are not finite: all blocks add to it, the last one hands it on and clears it.
struct Tally {
  unsigned long long notFinite;
  unsigned int arrived;
};

// The first `count` elements of a pack, zeros for the others.
template <int lanes>
__device__ __forceinline__ Pack<float, lanes> readSome(const float* from, int64_t count) {
  if (count >= lanes) return Pack<float, lanes>::readOnce(from);
  Pack<float, lanes> result;
#pragma unroll
  for (int lane = 0; lane < lanes; ++lane) result.values[lane] = lane < count ? from[lane] : 0;
  return result;
}

template <typename T, int lanes>
__device__ __forceinline__ void writeSome(const Pack<T, lanes>& pack, T* to, int64_t count) {
  if (count >= lanes) return pack.write(to);
#pragma unroll
  for (int lane = 0; lane < lanes; ++lane) {
    if (lane < count) to[lane] = pack.values[lane];
  }
}

template <typename Copy, int lanes, bool adapts>
__global__ void __launch_bounds__(SgdTiling::threads, residentBlocks<adapts>)
    sgdKernel(SgdTiling tiling, Rule rule, Tensors<Copy> tensors, const SegmentEnd* segments,
              int segmentCount, const float* schedule, Trust trust, const float* gradientFactor,
              float* finite, Tally* tally) {
  constexpr int packs = SgdTiling::packs;
  const int thread = static_cast<int>(threadIdx.x);
  const int block = static_cast<int>(blockIdx.x);
  const int64_t endTile = tiling.firstTile(block + 1);

  // One form for both: step = push·(g + λw), u = kept·v + step, w −= pull·(u, or Nesterov's sum).
  // A step that is skipped pushes and pulls by 0.
  const float factor = gradientFactor == nullptr ? 1 : *gradientFactor;
  const bool skips = factor == 0;
  const float rate = skips ? 0 : schedule[0];
  const float push = skips || rule.velocity ? rate : 1;
  const float pull = skips || !rule.velocity ? rate : 1;
  const float correction = rule.velocity ? schedule[1] : 1;
  const float kept = skips ? correction : rule.momentum * correction;

  // Computed where a segment begins, not in each tile: double precision is slow on some GPUs.
  const auto rateOf = [&](const SegmentEnd* own) {
    if constexpr (adapts) {
      if (own->adapts) return rate * trustRatio(trust, own - segments, own->decay);
    }
    return rate;
  };

  int segment = segmentAt(segments, segmentCount, tiling.element(tiling.firstTile(block), 0, 0));
  float segmentRate = rateOf(segments + segment);
  int notFinite = 0;
  for (int64_t tile = tiling.firstTile(block); tile < endTile; ++tile) {
    Pack<float, lanes> w[packs];
    Pack<float, lanes> g[packs];
    Pack<float, lanes> v[packs];
#pragma unroll
    for (int i = 0; i < packs; ++i) {
      const int64_t at = tiling.element(tile, i, thread);
      w[i] = readSome<lanes>(tensors.w + at, tiling.count - at);
      g[i] = readSome<lanes>(tensors.g + at, tiling.count - at);
      v[i] = readSome<lanes>(tensors.v + at, tiling.count - at);
    }
    // From the tile's first segment on: few tiles have a second one.
    const int64_t begin = tiling.element(tile, 0, 0);
    while (segments[segment].end <= begin) segmentRate = rateOf(segments + ++segment);
    const SegmentEnd* own = segments + segment;
    SegmentEnd current = *own;
    float ownPush = push, ownPull = pull;
    const auto follow = [&](float ownRate) {
      if constexpr (adapts) (rule.velocity ? ownPush : ownPull) = ownRate;
    };
    follow(segmentRate);
#pragma unroll
    for (int i = 0; i < packs; ++i) {
      const int64_t at = tiling.element(tile, i, thread);
      const int left = static_cast<int>(min(tiling.count - at, int64_t{lanes}));
      Pack<Copy, lanes> copy;
#pragma unroll
      for (int lane = 0; lane < lanes; ++lane) {
        while (current.end <= at + lane) {
          current = *++own;
          follow(rateOf(own));
        }
        float& weight = w[i].values[lane];
        float& momentum = v[i].values[lane];
        const float raw = g[i].values[lane];
        notFinite += fabsf(raw) <= FLT_MAX ? 0 : 1;
        const float step = ownPush * fmaf(current.decay, weight, skips ? 0 : factor * raw);
        momentum = kept * momentum + step;
        weight -= ownPull * (rule.nesterov ? step + rule.momentum * momentum : momentum);
        copy.values[lane] = store<Copy>(weight);
        g[i].values[lane] = 0;
      }
      writeSome(w[i], tensors.w + at, left);
      writeSome(v[i], tensors.v + at, left);
      if (tensors.zero) writeSome(g[i], tensors.g + at, left);
      if (tensors.copy != nullptr) writeSome(copy, tensors.copy + at, left);
    }
  }

  notFinite = blockReduce<Sum>(notFinite);
  if (thread == 0 && notFinite > 0) {
    atomicAdd(&tally->notFinite, static_cast<unsigned long long>(notFinite));
  }
  if (isLastBlock(&tally->arrived) && thread == 0) {
    *finite = static_cast<float>(tally->notFinite);
    tally->notFinite = 0;
  }
}

std::vector<SegmentEnd> tableOf(const std::vector<Segment>& segments) {
  std::vector<SegmentEnd> table;
  for (const Segment& segment : segments) {
    table.push_back({segment.end, segment.decay, segment.adapts});
  }
  table.back().end = std::numeric_limits<int64_t>::max();
  return table;
}

// `Copy` is the type of the copy, any for none.
template <typename Copy>
std::unique_ptr<Kernel> prepare(const SgdUpdate& update, PrepareContext& context) {
  const Tensors<Copy> tensors{update.w.as<float>(), update.g.as<float>(), update.v.as<float>(),
                              update.copy == nullptr ? nullptr : update.copy->as<Copy>(),
                              update.zero};
  constexpr int lanes = static_cast<int>(lanesOf<float>);
  const bool wide = dividesInto(lanes, 0, tensors.w, tensors.g, tensors.v, tensors.copy);
  SgdTiling tiling{update.w.count(), wide ? lanes : 1, 1};
  const bool adapts = update.trust.norms != nullptr;
  const int resident = adapts ? residentBlocks<true> : residentBlocks<false>;
  // One wave, next to the collectives of other buckets.
  const int multiprocessors = besideCollectives(traitsOf(context).multiprocessors);
  tiling.blocks =
      static_cast<int>(std::min<int64_t>(tiling.tiles(), int64_t{resident} * multiprocessors));
  const float* factor = update.factor == nullptr ? nullptr : update.factor->as<float>();
  const auto kernel =
      adapts ? LoadedKernel(wide ? sgdKernel<Copy, lanes, true> : sgdKernel<Copy, 1, true>)
             : LoadedKernel(wide ? sgdKernel<Copy, lanes, false> : sgdKernel<Copy, 1, false>);
  return makeKernel(
      [tiling, tensors, kernel, trust = update.trust, factor,
       rule = Rule{update.velocity, update.nesterov, update.momentum},
       segments = upload(tableOf(update.segments), context.backend),
       segmentCount = static_cast<int>(update.segments.size()),
       schedule = update.schedule.as<float>(), finite = update.finite.as<float>(),
       tally = context.backend.allocate(sizeof(Tally), MemoryKind::device)](Stream& stream) {
        launch(kernel, dim3(static_cast<unsigned>(tiling.blocks)), dim3(SgdTiling::threads), stream,
               tiling, rule, tensors, static_cast<const SegmentEnd*>(segments.get()), segmentCount,
               schedule, trust, factor, finite, static_cast<Tally*>(tally.get()));
      });
}

std::unique_ptr<Kernel> sgd(const Instruction& instruction, PrepareContext& context) {
  const SgdUpdate update = sgdOf(instruction);
  return withType(update.copy == nullptr ? DataType::bf16 : update.copy->type,
                  [&](auto tag) { return prepare<decltype(tag)>(update, context); });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {{"sgd",
           {"w:f32[L] g:f32[L] v:f32[L] schedule:f32[2] norms?:f32[S,3] factor?:f32[1] -> "
            "w:f32[L] v:f32[L] g?:f32[L] copy?:T[L] finite:f32[1]",
            sgd}}};
});

}  // namespace

}  // namespace onehour::cuda
