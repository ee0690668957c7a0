// Maximum and average pooling, of windows and of whole images.
import type { Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { type CaseRow, defineCases, linearDifference } from "./cases.js";
import { type Pair, pair, slide } from "./conv.js";

export const maxPoolBackward = defineOp<"dx">({
  name: "max-pool-backward",
  signature: "dy:T[N,P,Q,C] index:u8[N,P,Q,C] -> dx:T[N,H,W,C]",
});

const maxPoolOp = defineOp<"y" | "index">({
  name: "max-pool",
  signature: "x:T[N,H,W,C] -> y:T[N,P,Q,C] index?:u8[N,P,Q,C]",
  derive: slide("max-pool"),
  gradient: ({ inputs, outputs, attributes }, { y: dy }) => {
    const [, H = 0, W = 0] = inputs.x!.shape;
    const from = { dy, index: outputs.index };
    return {
      x: inputs.x!.graph.apply(maxPoolBackward, from, { ...attributes }, { sizes: { H, W } }).dx,
    };
  },
});

const globalAveragePoolBackward = defineOp<"dx">({
  name: "global-average-pool-backward",
  signature: "dy:T[N,C] -> dx:T[N,H,W,C]",
});

const globalAveragePoolOp = defineOp<"y">({
  name: "global-average-pool",
  signature: "x:T[N,H,W,C] -> y:T[N,C]",
  gradient: ({ inputs }, { y: dy }) => {
    const [, H = 0, W = 0] = inputs.x!.shape;
    return {
      x: inputs.x!.graph.apply(globalAveragePoolBackward, { dy }, {}, { sizes: { H, W } }).dx,
    };
  },
});

const averagePoolBackward = defineOp<"dx">({
  name: "average-pool-backward",
  signature: "dy:T[N,P,Q,C] -> dx:T[N,H,W,C]",
});

const averagePoolOp = defineOp<"y">({
  name: "average-pool",
  signature: "x:T[N,H,W,C] -> y:T[N,P,Q,C]",
  derive: slide("average-pool"),
  gradient: ({ inputs, attributes }, { y: dy }) => {
    const [, H = 0, W = 0] = inputs.x!.shape;
    const sizes = { H, W };
    return {
      x: inputs.x!.graph.apply(averagePoolBackward, { dy }, { ...attributes }, { sizes }).dx,
    };
  },
});

/** Windows of pooling in pixels, one number or [vertical, horizontal]. */
export interface PoolOptions {
  window: Pair;
  stride: Pair;
  /** Less than the window. */
  padding?: Pair;
}

function windowsOf({ window, stride, padding = 0 }: PoolOptions) {
  return { window: pair(window), stride: pair(stride), padding: pair(padding) };
}

/**
 * Largest value of each window; padding never wins. A NaN is the largest on a GPU, as in PyTorch; the
 * CPU's oneDNN passes over it, and a window of NaN alone gives its type's lowest value.
 *
 * @param x [N, H, W, C], f32, bf16 or f16
 * @returns y [N, P, Q, C] with P = ⌊(H + 2·padding − window) / stride⌋ + 1, Q alike
 * @throws OnehourError ERR_ONEHOUR_SHAPE when the image is smaller than the window
 */
export function maxPool(x: Value, options: PoolOptions): Value {
  return x.graph.apply(maxPoolOp, { x }, windowsOf(options), { optional: ["index"] }).y;
}

/**
 * Mean of each window; zeros of the padding count, as PyTorch's `count_include_pad` has it.
 *
 * @param x [N, H, W, C], f32, bf16 or f16
 * @returns y [N, P, Q, C] with P = ⌊(H + 2·padding − window) / stride⌋ + 1, Q alike
 * @throws OnehourError ERR_ONEHOUR_SHAPE when the image is smaller than the window
 */
export function averagePool(x: Value, options: PoolOptions): Value {
  return x.graph.apply(averagePoolOp, { x }, windowsOf(options)).y;
}

/** Mean over H and W: x [N, H, W, C] to y [N, C], f32, bf16 or f16. */
export function globalAveragePool(x: Value): Value {
  return x.graph.apply(globalAveragePoolOp, { x }).y;
}

interface PoolRow extends CaseRow {
  x: readonly number[];
  window: readonly [number, number];
  stride: readonly [number, number];
  padding: readonly [number, number];
  /** What the oracle draws for a maximum. */
  values: "distinct" | "negative" | "ties";
}

function row(
  name: string,
  x: readonly number[],
  window: Pair,
  options: Partial<Omit<PoolOptions, "window"> & Pick<PoolRow, "values" | "dtype">> = {},
): PoolRow {
  const { stride = 1, padding = 0, values = "distinct", dtype = "f32" } = options;
  return { name, x, ...windowsOf({ window, stride, padding }), values, dtype };
}

/** Cases of maximum pooling. The oracle's values are 1/16 apart. */
defineCases<PoolRow>({
  family: "max-pool",
  rows: [
    row("3x3 stride 2", [2, 9, 7, 16], 3, { stride: 2, padding: 1 }),
    row("2x2 stride 2 drops a border", [2, 7, 6, 3], 2, { stride: 2 }),
    row("all negative: padding never wins", [1, 5, 6, 1], 3, {
      stride: 2,
      padding: 1,
      values: "negative",
    }),
    row("ties go to the first", [2, 8, 8, 17], 3, { stride: 2, padding: 1, values: "ties" }),
    row("3x2 stride 1", [1, 5, 5, 5], [3, 2], { padding: [1, 0] }),
    row("bf16", [2, 9, 8, 16], 3, { stride: 2, padding: 1, values: "ties", dtype: "bf16" }),
    row("f16", [2, 9, 8, 16], 3, { stride: 2, padding: 1, values: "ties", dtype: "f16" }),
    row("130 channels, stride 1", [1, 4, 5, 130], 3, { padding: 1 }),
  ],
  sizes: [row("2×2 pool, odd", [1, 7, 6, 3], 2, { stride: 2 })],
  large: [row("stem's pool", [4, 112, 111, 64], 3, { stride: 2, padding: 1 })],
  inputs: ({ x }) => ({ x: { shape: x } }),
  build: ({ x }, { window, stride, padding }) => maxPool(x!, { window, stride, padding }),
  // No maximum changes within a step of 1/64: linear up to there. Where values tie there is no
  // derivative.
  difference: ({ values }) => (values === "ties" ? undefined : { step: 1 / 64, tolerance: 1e-4 }),
});

/** Cases of the mean of windows. */
defineCases<PoolRow>({
  family: "average-pool",
  rows: [
    row("2x2 stride 2", [2, 8, 6, 16], 2, { stride: 2 }),
    row("2x2 stride 2 drops a border", [2, 7, 5, 3], 2, { stride: 2 }),
    row("3x3 stride 2, zeros of the padding count", [2, 9, 7, 17], 3, { stride: 2, padding: 1 }),
    row("3x2 stride 1", [1, 5, 5, 5], [3, 2], { padding: [1, 0] }),
    row("windows apart", [1, 11, 9, 1], [2, 1], { stride: [4, 3] }),
    row("bf16", [2, 9, 8, 16], 3, { stride: 2, padding: 1, dtype: "bf16" }),
    row("f16", [2, 9, 8, 16], 3, { stride: 2, padding: 1, dtype: "f16" }),
  ],
  large: [row("large average pool", [4, 56, 55, 256], 2, { stride: 2 })],
  inputs: ({ x }) => ({ x: { shape: x } }),
  build: ({ x }, { window, stride, padding }) => averagePool(x!, { window, stride, padding }),
  difference: linearDifference,
});

/** Cases of the mean over whole images. */
defineCases<CaseRow & { x: readonly number[] }>({
  family: "global-average-pool",
  rows: [
    { name: "7x7", x: [2, 7, 7, 33], dtype: "f32" },
    { name: "one pixel", x: [3, 1, 1, 16], dtype: "f32" },
    { name: "odd, one channel", x: [1, 5, 3, 1], dtype: "f32" },
    { name: "bf16", x: [2, 7, 7, 16], dtype: "bf16" },
    { name: "f16", x: [2, 7, 7, 16], dtype: "f16" },
  ],
  sizes: [
    { name: "odd pixels", x: [5, 3, 5, 17], dtype: "f32" },
    { name: "1 element", x: [1, 1, 1, 1], dtype: "f32" },
    { name: "9 images", x: [9, 7, 7, 33], dtype: "f32" },
  ],
  large: [{ name: "a minibatch", x: [257, 7, 7, 512], dtype: "f32" }],
  inputs: ({ x }) => ({ x: { shape: x } }),
  build: ({ x }) => globalAveragePool(x!),
  difference: linearDifference,
});
