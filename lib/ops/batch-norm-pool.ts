// Batch normalisation, ReLU and max pooling in one pass, as in a network's stem, and their gradient;
// fusion makes these ops. The image in between, four times the pooled one, is neither written nor read.
import { defineOp, type Value } from "../graph/graph.js";
import type { Operand } from "../graph/program.js";
import { type BatchNormOptions, batchNorm, batchNormBackward } from "./batch-norm.js";
import { type CaseRow, defineCases } from "./cases.js";
import { conv2d, slide } from "./conv.js";
import { add } from "./elementwise.js";
import { maxPool, maxPoolBackward, type PoolOptions } from "./pool.js";

/**
 * `maxima` is x where the maxima are: with it the sums of batch norm's gradient run over the pooled
 * image, since elsewhere the gradient is 0.
 */
export const batchNormApplyMaxPool = defineOp<"y" | "index" | "maxima">({
  name: "batch-norm-apply-max-pool",
  signature:
    "x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta:f32[C] -> y:T[N,P,Q,C] index?:u8[N,P,Q,C] maxima?:T[N,P,Q,C]",
  derive: slide("batch-norm-apply-max-pool"),
});

export const batchNormInferenceMaxPool = defineOp<"y" | "index">({
  name: "batch-norm-inference-max-pool",
  signature:
    "x:T[N,H,W,C] running-mean:f32[C] running-variance:f32[C] gamma:f32[C] beta:f32[C] -> y:T[N,P,Q,C] index?:u8[N,P,Q,C]",
  derive: slide("batch-norm-inference-max-pool"),
});

/** dx from the pooled image's gradient dz, which `batch-norm-reduce` has masked and summed. */
export const batchNormBackwardMaxPool = defineOp<"dx">({
  name: "batch-norm-backward-max-pool",
  signature:
    "dz:T[N,P,Q,C] index:u8[N,P,Q,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] sums:f32[2C] -> dx:T[N,H,W,C]",
  expand: (fused) => {
    const [dz, index, ...rest] = fused.inputs as [Operand, Operand, ...Operand[]];
    const [dx] = fused.outputs as [Operand];
    return [
      { ...fused, op: maxPoolBackward.name, inputs: [{ ...dz, name: "dy" }, index] },
      { ...fused, op: batchNormBackward.name, inputs: [{ ...dx, name: "dz" }, ...rest] },
    ];
  },
});

type Sides = readonly [number, number];

interface NormPoolRow extends CaseRow {
  x: readonly number[];
  window: Sides;
  stride: Sides;
  padding: Sides;
  relu: 0 | 1;
  /** What the oracle draws for x: numbers 1/16 apart, or few of them. */
  values: "distinct" | "ties";
}

function row(name: string, x: readonly number[], options: Partial<NormPoolRow> = {}): NormPoolRow {
  const stem = { window: [3, 3], stride: [2, 2], padding: [1, 1], relu: 1 } as const;
  return { name, x, ...stem, values: "distinct", dtype: "f32", ...options };
}

function pooled(
  x: Value,
  options: Pick<BatchNormOptions, "gamma" | "beta" | "relu">,
  windows: PoolOptions,
): Value {
  const { graph, shape } = x;
  const C = shape[3]!;
  // Running statistics are asked for but do not matter.
  const runningMean = graph.constant(new Float32Array(C), [C]);
  const runningVariance = graph.constant(new Float32Array(C).fill(1), [C]);
  return maxPool(batchNorm(x, { ...options, runningMean, runningVariance }), windows);
}

/** Cases of batch normalisation in training, then ReLU or not, then max pooling. */
export const batchNormMaxPoolCases = defineCases<NormPoolRow>({
  family: "batch-norm-max-pool",
  rows: [
    row("stem", [2, 9, 7, 16]),
    row("2x2 drops a border", [3, 7, 6, 3], { window: [2, 2], padding: [0, 0] }),
    row("without relu", [2, 5, 8, 5], { relu: 0 }),
    row("windows that overlap thrice", [1, 5, 5, 17], { window: [3, 2], stride: [1, 1] }),
    row("windows apart", [1, 11, 9, 2], { window: [2, 1], stride: [4, 3], padding: [0, 0] }),
    row("ties go to the first", [2, 8, 8, 19], { values: "ties" }),
    row("bf16", [2, 9, 8, 16], { dtype: "bf16" }),
    row("f16", [2, 9, 8, 16], { dtype: "f16" }),
  ],
  sizes: [row("300 channels", [1, 5, 4, 300])],
  large: [row("stem of a ResNet", [4, 112, 111, 64])],
  inputs: ({ x }) => ({
    x: { shape: x },
    gamma: { shape: [x[3]!], f32: true, mean: 0.5 }, // of either sign
    beta: { shape: [x[3]!], f32: true, deviation: 0.5 },
  }),
  build: ({ x, gamma, beta }, { relu, ...windows }) =>
    pooled(x!, { gamma: gamma!, beta: beta!, relu: relu === 1 }, windows),
  tolerance: ({ dtype }) => ({ bf16: 2 ** -8, f16: 2 ** -11, f32: 5e-6 })[dtype],
  // No maximum changes within a step. ReLU: as for batch norm alone. Where values tie there is no
  // derivative.
  difference: ({ relu, values }) =>
    values === "ties"
      ? undefined
      : { step: relu ? 2 ** -11 : 2 ** -8, tolerance: relu ? 2e-2 : 2e-3 },
});

/** Cases of a whole stem and its two readers, whose gradients meet at the pooled image. */
defineCases<CaseRow & { x: readonly number[]; filters: number }>({
  family: "stem",
  rows: [{ name: "7x7, odd size", x: [2, 19, 23, 4], filters: 16, dtype: "f32" }],
  inputs: ({ x, filters }) => ({
    x: { shape: x },
    w: { shape: [filters, 7, 7, x[3]!] },
    gamma: { shape: [filters], f32: true, deviation: 0.3, mean: 1 },
    beta: { shape: [filters], f32: true, deviation: 0.5 },
    a: { shape: [8, 1, 1, filters], deviation: 0.25 },
    b: { shape: [8, 1, 1, filters], deviation: 0.25 },
  }),
  build: ({ x, w, gamma, beta, a, b }) => {
    const image = conv2d(x!, w!, { stride: 2, padding: 3 });
    const options = { gamma: gamma!, beta: beta!, relu: true };
    const y = pooled(image, options, { window: 3, stride: 2, padding: 1 });
    return add(conv2d(y, a!), conv2d(y, b!));
  },
  tolerance: () => 1e-5,
  difference: () => ({ step: 2 ** -11, tolerance: 2e-2 }),
});
