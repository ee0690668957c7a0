// Batch normalisation in the split form that synchronisation needs: statistics, merge, apply, and the
// same for the gradient. Per-worker batch norm is the same with a group of one.

import { OnehourError } from "../errors.js";
import {
  type Bindings,
  type DataType,
  defineOp,
  elementBytes,
  type Value,
} from "../graph/graph.js";
import type { Operand } from "../graph/program.js";
import { type CaseRow, defineCases } from "./cases.js";
import { allGatherOp, allReduceOp } from "./collective.js";
import { add, relu } from "./elementwise.js";

/** Added to the variance before the root. The paper does not state it; torchvision's value. */
const EPSILON = 1e-5;

/**
 * Elements of a byte of a ReLU's mask: those of the 16 bytes of y that a thread of a GPU takes. Bit j is
 * set where element j is above zero.
 */
export const maskLanes = (dtype: DataType): number => 16 / elementBytes[dtype];

/** The size of a mask's last axis. */
export const deriveMask = ({ sizes, types }: Bindings): void => {
  sizes.B = (sizes.C ?? 0) / maskLanes(types.T!);
};

export const batchNormStatistics = defineOp<"statistics">({
  name: "batch-norm-statistics",
  signature: "x:T[N,H,W,C] -> statistics:f32[1,2C+1]",
});

export const batchNormFinalize = defineOp<
  "mean" | "inverse-std" | "running-mean" | "running-variance"
>({
  name: "batch-norm-finalize",
  signature:
    "statistics:f32[G,2C+1] running-mean:f32[C] running-variance:f32[C] -> mean:f32[C] inverse-std:f32[C] running-mean:f32[C] running-variance:f32[C]",
});

/** Statistics that no other rank adds to, and what finalize makes of them; made by fusion. */
export const batchNormMoments = defineOp<
  "statistics" | "mean" | "inverse-std" | "running-mean" | "running-variance"
>({
  name: "batch-norm-moments",
  signature:
    "x:T[N,H,W,C] running-mean:f32[C] running-variance:f32[C] -> statistics:f32[1,2C+1] mean:f32[C] inverse-std:f32[C] running-mean:f32[C] running-variance:f32[C]",
  expand: (fused) => {
    const [x, ...running] = fused.inputs as [Operand, ...Operand[]];
    const [statistics, ...finalized] = fused.outputs as [Operand, ...Operand[]];
    return [
      {
        ...fused,
        op: batchNormStatistics.name,
        attributes: {},
        inputs: [x],
        outputs: [statistics],
      },
      {
        ...fused,
        op: batchNormFinalize.name,
        inputs: [statistics, ...running],
        outputs: finalized,
      },
    ];
  },
});

export const batchNormReduce = defineOp<"sums" | "dgamma" | "dbeta" | "dz">({
  name: "batch-norm-reduce",
  signature:
    "dy:T[N,H,W,C] dy2?:T[N,H,W,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma?:f32[C] beta?:f32[C] y?:T[N,H,W,C] mask?:u8[N,H,W,B] dgamma?:f32[C] dbeta?:f32[C] -> sums:f32[2C] dgamma:f32[C] dbeta:f32[C] dz?:T[N,H,W,C]",
  replaces: { dz: ["dy", "dy2"] },
});

export const batchNormBackward = defineOp<"dx">({
  name: "batch-norm-backward",
  signature:
    "dz:T[N,H,W,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta?:f32[C] sums:f32[2C] -> dx:T[N,H,W,C]",
  replaces: { dx: ["dz"] },
});

export const batchNormApply = defineOp<"y" | "mask">({
  name: "batch-norm-apply",
  signature:
    "x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta:f32[C] residual?:T[N,H,W,C] -> y:T[N,H,W,C] mask?:u8[N,H,W,B]",
  derive: deriveMask,
  replaces: { y: ["residual", "x"] },
  // The whole gradient, through the statistics too: they depend on x and have no rule of their own.
  gradient: ({ inputs }, { y: dy }, wants) => {
    const { x, mean, gamma, beta: _, ...rest } = inputs as Record<string, Value>;
    const g = x!.graph;
    const istd = rest["inverse-std"]!;
    const { sums, dgamma, dbeta } = g.apply(
      batchNormReduce,
      { dy, x, mean, "inverse-std": istd },
      { relu: 0 },
    );
    const statistics = mean!.node!.inputs.statistics!;
    const gather = statistics.node!;
    const total =
      gather.op.name === allGatherOp.name
        ? g.apply(allReduceOp, { x: sums }, { ...gather.attributes }, { stream: gather.stream }).x
        : sums;
    const [N = 0, H = 0, W = 0] = x!.shape;
    const count = (statistics.shape[0] ?? 1) * N * H * W;
    const from = { dz: dy, x, mean, "inverse-std": istd, gamma, sums: total };
    return {
      gamma: dgamma,
      beta: dbeta,
      x: wants("x") ? g.apply(batchNormBackward, from, { relu: 0, count }).dx : undefined,
    };
  },
});

export const batchNormInference = defineOp<"y">({
  name: "batch-norm-inference",
  signature:
    "x:T[N,H,W,C] running-mean:f32[C] running-variance:f32[C] gamma:f32[C] beta:f32[C] residual?:T[N,H,W,C] -> y:T[N,H,W,C]",
  replaces: { y: ["residual", "x"] },
});

export interface BatchNormOptions {
  /** γ and β, f32 [C]. */
  gamma: Value;
  beta: Value;
  /** f32 [C]; in training overwritten with decay·running + gain·batch (variance unbiased). */
  runningMean: Value;
  runningVariance: Value;
  /** Normalise with this batch's statistics (true) or with the running ones. */
  training?: boolean;
  epsilon?: number;
  /** Of the running statistics; 0.9 and 0.1 as in the paper. */
  decay?: number;
  gain?: number;
  /** Added after the normalisation, before ReLU; the shape of x. */
  residual?: Value | undefined;
  relu?: boolean;
  /** Ranks whose statistics are merged, with the communicator that joins them. */
  group?: { communicator: string; size: number };
}

/** Of one value the batch's mean is that value: the output would be β whatever the input (PyTorch). */
function requireSeveralValues({ graph, shape }: Value, ranks: number): void {
  const [N = 0, H = 0, W = 0] = shape;
  if (ranks * N * H * W !== 1) return;
  throw new OnehourError(
    "ERR_ONEHOUR_SHAPE",
    `[batch-norm] ${graph.label === "" ? "x" : graph.label} has one value a channel in training, ` +
      `${N} image of ${H}×${W}, which its own mean cancels; expected more than one: take larger ` +
      "batches or images, or synchronise batch norm over several ranks",
  );
}

/**
 * y = γ·(x − mean)/√(variance + ε) + β (+ residual), then ReLU where asked for, per channel.
 *
 * In training mean and (biased) variance are of the batch, over N, H, W and the ranks of `group`, as
 * in the paper per worker by default; synchronised ones are merged in rank order from (mean, M2,
 * count), so that all ranks hold the same bits.
 *
 * @param x [N, H, W, C], f32, bf16 or f16
 * @returns y of the same shape and type
 * @throws OnehourError ERR_ONEHOUR_SHAPE; also for one value a channel in training
 */
export function batchNorm(x: Value, options: BatchNormOptions): Value {
  const { gamma, beta, training = true, epsilon = EPSILON, decay = 0.9, gain = 0.1 } = options;
  const { runningMean, runningVariance, residual, group } = options;
  const g = x.graph;
  const running = { "running-mean": runningMean, "running-variance": runningVariance };
  const normalized = () => {
    if (!training)
      return g.apply(batchNormInference, { x, ...running, gamma, beta }, { relu: 0, epsilon }).y;
    requireSeveralValues(x, group?.size ?? 1);
    let { statistics } = g.apply(batchNormStatistics, { x });
    if (group !== undefined && group.size > 1)
      statistics = g.apply(
        allGatherOp,
        { x: statistics },
        { communicator: group.communicator },
        { sizes: { G: group.size }, stream: "statistics" },
      ).y;
    const { mean, "inverse-std": istd } = g.apply(
      batchNormFinalize,
      { statistics, ...running },
      { epsilon, decay, gain },
    );
    return g.apply(batchNormApply, { x, mean, "inverse-std": istd, gamma, beta }, { relu: 0 }).y;
  };
  const y = normalized();
  const sum = residual === undefined ? y : add(y, residual);
  return options.relu ? relu(sum) : sum;
}

interface BatchNormRow extends CaseRow {
  x: readonly number[];
  relu: 0 | 1;
  residual: 0 | 1;
  /** Mean of x. */
  offset: number;
}

/** Cases of batch normalisation in training, with what may follow it. */
export const batchNormCases = defineCases<BatchNormRow>({
  family: "batch-norm",
  rows: [
    { name: "plain", x: [4, 5, 3, 16], relu: 0, residual: 0, offset: 0, dtype: "f32" },
    { name: "relu", x: [3, 5, 7, 3], relu: 1, residual: 0, offset: 0, dtype: "f32" },
    { name: "relu and residual", x: [4, 5, 5, 16], relu: 1, residual: 1, offset: 0, dtype: "f32" },
    {
      name: "residual without relu",
      x: [2, 3, 3, 17],
      relu: 0,
      residual: 1,
      offset: 0,
      dtype: "f32",
    },
    { name: "one channel", x: [2, 9, 7, 1], relu: 1, residual: 0, offset: 0, dtype: "f32" },
    {
      name: "many channels, few pixels",
      x: [2, 1, 2, 67],
      relu: 1,
      residual: 0,
      offset: 0,
      dtype: "f32",
    },
    { name: "many pixels", x: [4, 23, 29, 5], relu: 0, residual: 0, offset: 0, dtype: "f32" },
    {
      name: "mean far from zero",
      x: [4, 9, 9, 3],
      relu: 0,
      residual: 0,
      offset: 1000,
      dtype: "f32",
    },
    { name: "relu bf16", x: [3, 5, 7, 16], relu: 1, residual: 0, offset: 0, dtype: "bf16" },
    { name: "relu f16", x: [3, 5, 7, 16], relu: 1, residual: 0, offset: 0, dtype: "f16" },
    {
      name: "relu and residual bf16",
      x: [3, 5, 7, 19],
      relu: 1,
      residual: 1,
      offset: 0,
      dtype: "bf16",
    },
    {
      name: "relu and residual f16",
      x: [3, 5, 7, 19],
      relu: 1,
      residual: 1,
      offset: 0,
      dtype: "f16",
    },
    {
      name: "more channels than a tile",
      x: [2, 2, 2, 300],
      relu: 1,
      residual: 0,
      offset: 0,
      dtype: "f32",
    },
  ],
  inputs: ({ x, offset, residual }) => {
    const shape = [x[3]!];
    return {
      x: { shape: x, deviation: 1.5, mean: offset },
      gamma: { shape, f32: true, deviation: 0.3, mean: 1 },
      beta: { shape, f32: true, deviation: 0.5 },
      ...(residual ? { residual: { shape: x } } : {}),
    };
  },
  build: ({ x, gamma, beta, residual }, row) => {
    const { graph, shape } = x!;
    const C = shape[3]!;
    // Running statistics are asked for but do not matter.
    const runningMean = graph.constant(new Float32Array(C), [C]);
    const runningVariance = graph.constant(new Float32Array(C).fill(1), [C]);
    const options = { gamma: gamma!, beta: beta!, runningMean, runningVariance };
    return batchNorm(x!, { ...options, residual, relu: row.relu === 1 });
  },
  // A mean of 1000 is rounded to 3e-5, which is 2e-5 of the standard deviation. In bf16 y and dx are
  // rounded once, dz where it is stored once more.
  tolerance: ({ dtype, offset }) =>
    ({ bf16: 2 ** -8, f16: 2 ** -11, f32: offset ? 1e-4 : 5e-6 })[dtype],
  // Truncation: the square of step / standard deviation, 4e-4 where four pixels make a small one.
  // ReLU: an element whose kink lies within the step has a derivative that is half wrong, so that the
  // step is smaller: about one element in 2000. Mean 1000: its rounding is divided by the step.
  difference: ({ relu, offset }) =>
    relu ? { step: 2 ** -11, tolerance: 2e-2 } : { step: 2 ** -8, tolerance: offset ? 1e-2 : 2e-3 },
});
