// Two batch norms that are added, as at the end of a block with a projection shortcut, in one pass: forward,
// and both halves of the gradient. Fusion alone makes these ops. Operands of the second norm end in 2, except
// that dy2 is, as elsewhere, a second gradient of y.
import { defineOp } from "../graph/graph.js";
import { batchNorm, deriveMask } from "./batch-norm.js";
import { type CaseRow, defineCases } from "./cases.js";
import { multiply } from "./channels.js";
import { add } from "./elementwise.js";

export const batchNormApplyPair = defineOp<"y" | "mask">({
  name: "batch-norm-apply-pair",
  signature:
    "x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] beta:f32[C] x2:T[N,H,W,C] mean2:f32[C] inverse-std2:f32[C] gamma2:f32[C] beta2:f32[C] -> y:T[N,H,W,C] mask?:u8[N,H,W,B]",
  derive: deriveMask,
  replaces: { y: ["x", "x2"] },
});

export const batchNormReducePair = defineOp<
  "sums" | "dgamma" | "dbeta" | "sums2" | "dgamma2" | "dbeta2" | "dz"
>({
  name: "batch-norm-reduce-pair",
  signature:
    "dy:T[N,H,W,C] dy2?:T[N,H,W,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] x2:T[N,H,W,C] mean2:f32[C] inverse-std2:f32[C] mask:u8[N,H,W,B] dgamma?:f32[C] dbeta?:f32[C] dgamma2?:f32[C] dbeta2?:f32[C] -> sums:f32[2C] dgamma:f32[C] dbeta:f32[C] sums2:f32[2C] dgamma2:f32[C] dbeta2:f32[C] dz:T[N,H,W,C]",
  replaces: { dz: ["dy", "dy2"] },
});

export const batchNormBackwardPair = defineOp<"dx" | "dx2">({
  name: "batch-norm-backward-pair",
  signature:
    "dz:T[N,H,W,C] x:T[N,H,W,C] mean:f32[C] inverse-std:f32[C] gamma:f32[C] sums:f32[2C] x2:T[N,H,W,C] mean2:f32[C] inverse-std2:f32[C] gamma2:f32[C] sums2:f32[2C] -> dx:T[N,H,W,C] dx2:T[N,H,W,C]",
  replaces: { dx: ["dz"], dx2: ["x2"] },
});

interface PairRow extends CaseRow {
  x: readonly number[];
  /** Whether y is read twice, so that its gradient comes by two ways. */
  twice: boolean;
}

/** Cases of two batch norms, their sum and ReLU; those whose channels are not whole bytes of a mask stay apart. */
export const batchNormPairCases = defineCases<PairRow>({
  family: "batch-norm-pair",
  rows: [],
  sizes: [
    { name: "few channels", x: [3, 5, 7, 8], twice: false, dtype: "f32" },
    { name: "two gradients", x: [2, 9, 5, 24], twice: true, dtype: "f32" },
    { name: "more channels than a tile", x: [2, 3, 2, 272], twice: true, dtype: "f32" },
    { name: "odd channels", x: [2, 3, 5, 19], twice: true, dtype: "f32" },
  ],
  large: [{ name: "layer1.0", x: [8, 56, 55, 256], twice: true, dtype: "f32" }],
  inputs: ({ x }) => {
    const shape = [x[3]!];
    const vector = { shape, f32: true } as const;
    return {
      x: { shape: x, deviation: 1.5, mean: 2 },
      gamma: { ...vector, deviation: 0.3, mean: 1 },
      beta: { ...vector, deviation: 0.5 },
      x2: { shape: x, deviation: 0.5, mean: -1 },
      gamma2: { ...vector, deviation: 0.3, mean: 1 },
      beta2: { ...vector, deviation: 0.5 },
      factor: { shape: [x[0]!, x[3]!] },
    };
  },
  build: ({ x, gamma, beta, x2, gamma2, beta2, factor }, { twice }) => {
    const { graph, shape } = x!;
    const C = shape[3]!;
    // Running statistics are asked for but do not matter.
    const running = () => ({
      runningMean: graph.constant(new Float32Array(C), [C]),
      runningVariance: graph.constant(new Float32Array(C).fill(1), [C]),
    });
    const residual = batchNorm(x2!, { gamma: gamma2!, beta: beta2!, ...running() });
    const y = batchNorm(x!, { gamma: gamma!, beta: beta!, ...running(), residual, relu: true });
    const product = multiply(y, factor!);
    return twice ? add(product, y) : product;
  },
  difference: () => ({ step: 2 ** -11, tolerance: 2e-2 }),
});
