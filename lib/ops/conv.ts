// Two-dimensional convolution, NHWC images and KRSC filters, and its two gradients.
import type { Attributes, Bindings, Op, Value } from "../graph/graph.js";
import { defineOp, elements } from "../graph/graph.js";
import type { Operand } from "../graph/program.js";
import { shapeError } from "../graph/signature.js";
import { batchNormStatistics } from "./batch-norm.js";

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
    const along = (size = 0, window = 0, axis = 0) =>
      Math.floor((size + 2 * (padding[axis] ?? 0) - window) / (stride[axis] ?? 1)) + 1;
    sizes.P = along(sizes.H, windowR, 0);
    sizes.Q = along(sizes.W, windowS, 1);
    if (sizes.P < 1 || sizes.Q < 1)
      throw shapeError(
        op,
        `an image of at least the window's ${windowR}×${windowS} with padding ${padding}`,
        `${sizes.H}×${sizes.W}`,
      );
  };
}

/** A product for each element of `result`, the output or its gradient, and of one of the filters. */
const products =
  (result: string, filters: string): NonNullable<Op["products"]> =>
  (shapes) =>
    elements(shapes[result] ?? []) * elements((shapes[filters] ?? []).slice(1));

export const conv2dBackwardWeight = defineOp<"dw">({
  name: "conv2d-backward-weight",
  signature: "x:T[N,H,W,C] dy:T[N,P,Q,K] dw?:f32[K,R,S,C] -> dw:f32[K,R,S,C]",
  products: products("dy", "dw"),
});

export const conv2dBackwardData = defineOp<"dx">({
  name: "conv2d-backward-data",
  signature: "dy:T[N,P,Q,K] w:T[K,R,S,C] -> dx:T[N,H,W,C]",
  products: products("dy", "w"),
});

export const conv2dOp = defineOp<"y">({
  name: "conv2d",
  signature: "x:T[N,H,W,C] w:T[K,R,S,C] -> y:T[N,P,Q,K]",
  derive: slide("conv2d"),
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
  signature: "x:T[N,H,W,C] w:T[K,R,S,C] -> y:T[N,P,Q,K] statistics:f32[1,2K+1]",
  derive: slide("conv2d-statistics"),
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

/**
 * Convolution (cross-correlation, no bias).
 *
 * @param x images [N, H, W, C], f32 or bf16
 * @param w filters [K, R, S, C] of the same type
 * @param options stride and zero padding in pixels, one number or [vertical, horizontal]
 * @returns y [N, P, Q, K] with P = ⌊(H + 2·padding − R) / stride⌋ + 1, Q alike
 * @throws OnehourError ERR_ONEHOUR_SHAPE when the channels or types differ or the image is too small
 */
export function conv2d(x: Value, w: Value, options: { stride?: Pair; padding?: Pair } = {}): Value {
  const { stride = 1, padding = 0 } = options;
  return x.graph.apply(conv2dOp, { x, w }, { stride: pair(stride), padding: pair(padding) }).y;
}
