// Two-dimensional convolution, NHWC images and KRSC filters, and its two gradients.
import type { Attributes, Bindings, Op, Value } from "../graph/graph.js";
import { defineOp, elements } from "../graph/graph.js";
import type { Operand } from "../graph/program.js";
import { shapeError } from "../graph/signature.js";
import { batchNormMoments, batchNormStatistics } from "./batch-norm.js";
import { type CaseRow, defineCases, linearDifference } from "./cases.js";
import { copyOp } from "./elementwise.js";

/** One number for both axes, or [vertical, horizontal]. */
export type Pair = number | readonly [number, number];

/** [vertical, horizontal] of a pair. */
export function pair(value: Pair): readonly [number, number] {
  return typeof value === "number" ? [value, value] : value;
}

/** Sizes P×Q of sliding an R×S window over an H×W image. */
export function slide(op: string) {
  return ({ sizes }: Bindings, attributes: Attributes): void => {
    const [windowR = sizes.R, windowS = sizes.S] = (attributes.window ?? []) as number[];
    const stride = attributes.stride as readonly number[];
    const padding = attributes.padding as readonly number[];
    const dilation = (attributes.dilation ?? [1, 1]) as readonly number[];
    const spread = (window = 0, axis = 0) => (window - 1) * (dilation[axis] ?? 1) + 1;
    const along = (size = 0, window = 0, axis = 0) =>
      Math.floor((size + 2 * (padding[axis] ?? 0) - window) / (stride[axis] ?? 1)) + 1;
    const [rows, columns] = [spread(windowR, 0), spread(windowS, 1)];
    sizes.P = along(sizes.H, rows, 0);
    sizes.Q = along(sizes.W, columns, 1);
    if (sizes.P < 1 || sizes.Q < 1)
      throw shapeError(
        op,
        `an image of at least the window's ${rows}×${columns} with padding ${padding}`,
        `${sizes.H}×${sizes.W}`,
      );
  };
}

const groupsOf = ({ groups = 1 }: Attributes) => groups as number;

/** Checks the filters' channels D against the image's, then slides them. */
const convolve = (op: string) => {
  const slideFilters = slide(op);
  return (bindings: Bindings, attributes: Attributes): void => {
    const { N, H, W, C = 0, K = 0, R, S, D } = bindings.sizes;
    const { T } = bindings.types;
    const groups = groupsOf(attributes);
    if (C % groups !== 0 || K % groups !== 0)
      throw shapeError(op, `groups that divide ${C} channels and ${K} filters`, `${groups}`);
    if (D !== C / groups)
      throw shapeError(
        op,
        `w:${T}[K,R,S,${C / groups}]`,
        `w:${T}[${[K, R, S, D]}] (with x:${T}[${[N, H, W, C]}])`,
      );
    slideFilters(bindings, attributes);
  };
};

/** A product for each element of `result`, the output or its gradient, and of one of the filters. */
const products =
  (result: string, filters: string): NonNullable<Op["products"]> =>
  (shapes) =>
    elements(shapes[result] ?? []) * elements((shapes[filters] ?? []).slice(1));

const deriveFilterChannels: NonNullable<Op["derive"]> = ({ sizes }, attributes) => {
  sizes.D = (sizes.C ?? 0) / groupsOf(attributes);
};

export const conv2dBackwardWeight = defineOp<"dw">({
  name: "conv2d-backward-weight",
  signature: "x:T[N,H,W,C] dy:T[N,P,Q,K] dw?:f32[K,R,S,D] -> dw:f32[K,R,S,D]",
  derive: deriveFilterChannels,
  products: products("dy", "dw"),
});

/** conv2d-backward-weight in the type of its operands, in which a GPU's engines are fast. */
export const conv2dBackwardWeightRounded = defineOp<"dw">({
  name: "conv2d-backward-weight-rounded",
  signature: "x:T[N,H,W,C] dy:T[N,P,Q,K] -> dw:T[K,R,S,D]",
  derive: deriveFilterChannels,
  products: products("dy", "dw"),
  expand: (rounded) => {
    const [dw] = rounded.outputs as [Operand];
    const wide: Operand = { ...dw, dtype: "f32", offset: -1 };
    return [
      { ...rounded, op: conv2dBackwardWeight.name, outputs: [wide] },
      {
        ...rounded,
        op: copyOp.name,
        attributes: {},
        inputs: [{ ...wide, name: "x" }],
        outputs: [{ ...dw, name: "y" }],
      },
    ];
  },
});

export const conv2dBackwardData = defineOp<"dx">({
  name: "conv2d-backward-data",
  signature: "dy:T[N,P,Q,K] w:T[K,R,S,D] -> dx:T[N,H,W,C]",
  derive: ({ sizes }, attributes) => {
    sizes.C = (sizes.D ?? 0) * groupsOf(attributes);
  },
  products: products("dy", "w"),
});

export const conv2dOp = defineOp<"y">({
  name: "conv2d",
  signature: "x:T[N,H,W,C] w:T[K,R,S,D] -> y:T[N,P,Q,K]",
  derive: convolve("conv2d"),
  products: products("y", "w"),
  // The weight's gradient first: x is free afterwards, before dx takes its room.
  gradient: ({ inputs, attributes }, { y: dy }, wants) => {
    const { x, w } = inputs as { x: Value; w: Value };
    const [, R = 0, S = 0] = w.shape;
    const [, H = 0, W = 0] = x.shape;
    const g = x.graph;
    return {
      w: wants("w")
        ? g.apply(conv2dBackwardWeight, { x, dy }, { ...attributes }, { sizes: { R, S } }).dw
        : undefined,
      x: wants("x")
        ? g.apply(conv2dBackwardData, { dy, w }, { ...attributes }, { sizes: { H, W } }).dx
        : undefined,
    };
  },
});

/** A convolution that also yields the batch-norm statistics of its output; made by fusion. */
export const conv2dStatistics = defineOp<"y" | "statistics">({
  name: "conv2d-statistics",
  signature: "x:T[N,H,W,C] w:T[K,R,S,D] -> y:T[N,P,Q,K] statistics:f32[1,2K+1]",
  derive: convolve("conv2d-statistics"),
  products: products("y", "w"),
  expand: (fused) => {
    const [y, statistics] = fused.outputs as [Operand, Operand];
    return [
      { ...fused, op: conv2dOp.name, outputs: [y] },
      {
        ...fused,
        op: batchNormStatistics.name,
        attributes: {},
        inputs: [{ ...y, name: "x" }],
        outputs: [statistics],
      },
    ];
  },
});

/** A convolution that also yields its output's batch-norm-moments; made by fusion. */
export const conv2dMoments = defineOp<
  "y" | "statistics" | "mean" | "inverse-std" | "running-mean" | "running-variance"
>({
  name: "conv2d-moments",
  signature:
    "x:T[N,H,W,C] w:T[K,R,S,D] running-mean:f32[K] running-variance:f32[K] -> y:T[N,P,Q,K] statistics:f32[1,2K+1] mean:f32[K] inverse-std:f32[K] running-mean:f32[K] running-variance:f32[K]",
  derive: convolve("conv2d-moments"),
  products: products("y", "w"),
  expand: (fused) => {
    const [x, w, ...running] = fused.inputs as [Operand, Operand, ...Operand[]];
    const [y, ...finalized] = fused.outputs as [Operand, ...Operand[]];
    const moments = {
      ...fused,
      op: batchNormMoments.name,
      inputs: [{ ...y, name: "x" }, ...running],
      outputs: finalized,
    };
    return [
      { ...fused, op: conv2dOp.name, inputs: [x, w], outputs: [y] },
      ...batchNormMoments.expand!(moments),
    ];
  },
});

/** How filters move over an image: one number for both axes, or [vertical, horizontal]. */
export interface ConvolutionOptions {
  /** Pixels from one place to the next. */
  stride?: Pair;
  /** Zeros around the image. */
  padding?: Pair;
  /** Pixels from one of a filter's rows or columns to the next. */
  dilation?: Pair;
  /** Groups of channels and filters, each convolved by itself; a divisor of both counts. */
  groups?: number;
}

/** The attributes of a convolution and its gradients; those of one group without dilation are left out. */
export function convolutionAttributes(options: ConvolutionOptions): Attributes {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
  const isDilated = pair(dilation).some((step) => step !== 1);
  return {
    stride: pair(stride),
    padding: pair(padding),
    ...(isDilated ? { dilation: pair(dilation) } : {}),
    ...(groups === 1 ? {} : { groups }),
  };
}

/**
 * Convolution (cross-correlation, no bias).
 *
 * @param x images [N, H, W, C], f32, bf16 or f16
 * @param w filters [K, R, S, C / groups] of the same type
 * @returns y [N, P, Q, K] with P = ⌊(H + 2·padding − dilation·(R − 1) − 1) / stride⌋ + 1, Q alike
 * @throws OnehourError ERR_ONEHOUR_SHAPE when the channels, groups or types do not agree or the image
 *   is too small
 */
export function conv2d(x: Value, w: Value, options: ConvolutionOptions = {}): Value {
  return x.graph.apply(conv2dOp, { x, w }, convolutionAttributes(options)).y;
}

interface ConvRow extends CaseRow {
  x: readonly number[];
  filters: number;
  window: readonly [number, number];
  stride: readonly [number, number];
  padding: readonly [number, number];
  dilation: readonly [number, number];
  groups: number;
}

function row(
  name: string,
  x: readonly number[],
  filters: number,
  window: Pair,
  options: ConvolutionOptions & { dtype?: CaseRow["dtype"] } = {},
): ConvRow {
  const { stride = 1, padding = 0, dilation = 1, groups = 1, dtype = "f32" } = options;
  const pairs = { stride: pair(stride), padding: pair(padding), dilation: pair(dilation) };
  return { name, x, filters, window: pair(window), ...pairs, groups, dtype };
}

/** Cases of convolution and its gradients. */
export const convCases = defineCases<ConvRow>({
  family: "conv",
  rows: [
    row("3x3 one channel", [2, 7, 9, 1], 16, 3, { padding: 1 }),
    row("7x7 stem", [2, 15, 13, 3], 5, 7, { stride: 2, padding: 3 }),
    row("3x3 sixteen channels", [2, 6, 5, 16], 16, 3, { padding: 1 }),
    row("3x3 stride 2, odd channels", [2, 9, 8, 13], 21, 3, { stride: 2, padding: 1 }),
    row("1x1 odd channels", [3, 5, 7, 17], 19, 1),
    row("1x1 stride 2 leaves pixels out", [2, 8, 7, 16], 32, 1, { stride: 2 }),
    row("1x3 unequal stride and padding", [1, 6, 11, 3], 4, [1, 3], {
      stride: [1, 2],
      padding: [0, 1],
    }),
    row("5x5 stride 3 drops a border", [1, 13, 12, 3], 8, 5, { stride: 3 }),
    row("one pixel", [1, 1, 1, 3], 2, 3, { padding: 1 }),
    row("3x3 sixteen channels bf16", [2, 6, 5, 16], 32, 3, { padding: 1, dtype: "bf16" }),
    row("3x3 sixteen channels f16", [2, 6, 5, 16], 32, 3, { padding: 1, dtype: "f16" }),
    row("3x3 one channel bf16", [2, 7, 9, 1], 16, 3, { padding: 1, dtype: "bf16" }),
    row("7x7 stem bf16", [2, 15, 13, 3], 16, 7, { stride: 2, padding: 3, dtype: "bf16" }),
    row("7x7 stem f16", [2, 15, 13, 3], 16, 7, { stride: 2, padding: 3, dtype: "f16" }),
    row("1x1 stride 2 bf16", [2, 8, 7, 16], 19, 1, { stride: 2, dtype: "bf16" }),
    row("32 groups of 4 channels", [2, 7, 6, 128], 128, 3, { padding: 1, groups: 32 }),
    row("3 groups, stride 2, unequal counts", [2, 8, 9, 6], 15, 3, {
      stride: 2,
      padding: 1,
      groups: 3,
    }),
    row("a filter a channel", [1, 6, 7, 8], 8, 3, { padding: 1, groups: 8 }),
    row("1x1 in groups", [2, 5, 4, 16], 32, 1, { groups: 4 }),
    row("dilation 2", [2, 9, 8, 32], 32, 3, { padding: 2, dilation: 2 }),
    row("unequal dilation, stride 2", [1, 11, 13, 3], 4, [3, 2], {
      stride: [2, 1],
      padding: [1, 0],
      dilation: [2, 3],
    }),
    row("dilated in groups", [2, 9, 8, 8], 16, 3, { padding: 2, dilation: 2, groups: 2 }),
    row("32 groups bf16", [2, 7, 6, 128], 128, 3, {
      stride: 2,
      padding: 1,
      groups: 32,
      dtype: "bf16",
    }),
    row("32 groups f16", [2, 7, 6, 128], 128, 3, {
      stride: 2,
      padding: 1,
      groups: 32,
      dtype: "f16",
    }),
    row("dilation 2 bf16", [2, 9, 8, 16], 16, 3, { padding: 2, dilation: 2, dtype: "bf16" }),
    row("3x3 of 32 channels, odd sizes", [1, 16, 17, 32], 33, 3, { padding: 1 }),
  ],
  sizes: [
    row("3×3", [2, 7, 9, 16], 16, 3, { padding: 1 }),
    row("stem of 4 channels", [1, 31, 29, 4], 64, 7, { stride: 2, padding: 3 }),
    row("1×1 stride 2, one image", [1, 8, 7, 16], 32, 1, { stride: 2 }),
    row("one pixel, 8 channels", [1, 1, 1, 8], 8, 3, { padding: 1 }),
  ],
  large: [
    row("64 filters", [4, 56, 56, 64], 64, 3, { padding: 1 }),
    row("2048 filters", [4, 7, 7, 512], 2048, 1),
    row("32 groups, 256 filters", [4, 28, 28, 256], 256, 3, { padding: 1, groups: 32 }),
  ],
  inputs: ({ x, filters, window, groups }) => ({
    x: { shape: x },
    w: { shape: [filters, ...window, x[3]! / groups], deviation: 0.5 },
  }),
  build: ({ x, w }, { stride, padding, dilation, groups }) =>
    conv2d(x!, w!, { stride, padding, dilation, groups }),
  difference: linearDifference,
});
