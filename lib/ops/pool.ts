// Max pooling and global average pooling.
import type { Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { type Pair, pair, slide } from "./conv.js";

export const maxPoolBackward = defineOp<"dx">({
  name: "max-pool-backward",
  signature: "dy:T[N,P,Q,C] index:u8[N,P,Q,C] -> dx:T[N,H,W,C]",
});

export const maxPoolOp = defineOp<"y" | "index">({
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

export const globalAveragePoolBackward = defineOp<"dx">({
  name: "global-average-pool-backward",
  signature: "dy:T[N,C] -> dx:T[N,H,W,C]",
});

export const globalAveragePoolOp = defineOp<"y">({
  name: "global-average-pool",
  signature: "x:T[N,H,W,C] -> y:T[N,C]",
  gradient: ({ inputs }, { y: dy }) => {
    const [, H = 0, W = 0] = inputs.x!.shape;
    return {
      x: inputs.x!.graph.apply(globalAveragePoolBackward, { dy }, {}, { sizes: { H, W } }).dx,
    };
  },
});

/**
 * Largest value of each window; padding never wins. A NaN is the largest on a GPU, as in PyTorch; the
 * CPU's oneDNN passes over it, and a window of NaN alone gives its type's lowest value.
 *
 * @param x [N, H, W, C], f32 or bf16
 * @param options window, stride and padding in pixels, one number or [vertical, horizontal]
 * @returns y [N, P, Q, C] with P = ⌊(H + 2·padding − window) / stride⌋ + 1, Q alike
 * @throws OnehourError ERR_ONEHOUR_SHAPE when the image is smaller than the window
 */
export function maxPool(x: Value, options: { window: Pair; stride: Pair; padding?: Pair }): Value {
  const { window, stride, padding = 0 } = options;
  const attributes = { window: pair(window), stride: pair(stride), padding: pair(padding) };
  return x.graph.apply(maxPoolOp, { x }, attributes, { optional: ["index"] }).y;
}

/** Mean over H and W: x [N, H, W, C] to y [N, C], f32 or bf16. */
export function globalAveragePool(x: Value): Value {
  return x.graph.apply(globalAveragePoolOp, { x }).y;
}
