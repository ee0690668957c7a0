// Ops that work element by element: input normalisation, addition, ReLU, conversion, scaling.
import type { DataType, Op, Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { shapeError } from "../graph/signature.js";

export const normalizeInputOp = defineOp<"y">({
  name: "normalize-input",
  signature: "x:u8[N,H,W,C] flip?:u8[N] -> y:T[N,H,W,D]",
  derive: ({ sizes: { C = 0, D = 0 } }, { mean, std }) => {
    for (const [name, list] of Object.entries({ mean, std }))
      if ((list as readonly number[]).length !== C)
        throw shapeError("normalize-input", `${C} numbers in ${name}, one a channel`, `${list}`);
    if (D < C) throw shapeError("normalize-input", `at least ${C} channels in y`, `${D}`);
  },
});

export const addOp = defineOp<"y">({
  name: "add",
  signature: "a:T[...] b:T[...] -> y:T[...]",
  gradient: (_, { y: dy }) => ({ a: dy, b: dy }),
  replaces: { y: ["a", "b"] },
});

export const reluBackward = defineOp<"dx">({
  name: "relu-backward",
  signature: "dy:T[...] y:T[...] -> dx:T[...]",
  replaces: { dx: ["dy", "y"] },
});

export const reluOp = defineOp<"y">({
  name: "relu",
  signature: "x:T[...] -> y:T[...]",
  gradient: ({ inputs, outputs }, { y: dy }) => ({
    x: inputs.x!.graph.apply(reluBackward, { dy, y: outputs.y }).dx,
  }),
  replaces: { y: ["x"] },
});

export const copyOp = defineOp<"y">({
  name: "copy",
  signature: "x:U[...] -> y:V[...]",
  gradient: ({ inputs }, { y: dy }) => ({ x: cast(dy!, inputs.x!.dtype) }),
});

export const scaleOp: Op<"y"> = defineOp<"y">({
  name: "scale",
  signature: "x:f32[...] -> y:f32[...]",
  gradient: ({ inputs, attributes }, { y: dy }) => ({
    x: inputs.x!.graph.apply(scaleOp, { x: dy }, { ...attributes }).y,
  }),
  replaces: { y: ["x"] },
});

/**
 * Pixels to numbers: (x / 255 − mean) / std per channel.
 *
 * @param x u8 [N, H, W, C]
 * @param options mean and std, one number a channel; flip: u8 [N], images to mirror left to right
 *   where it is not 0; dtype of the result (f32); channels of the result, extra ones are 0 (C)
 * @returns y [N, H, W, channels]
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function normalizeInput(
  x: Value,
  options: {
    mean: readonly number[];
    std: readonly number[];
    flip?: Value | undefined;
    dtype?: DataType;
    channels?: number;
  },
): Value {
  const { mean, std, flip, dtype = "f32", channels = x.shape[3] ?? 0 } = options;
  const extra = { sizes: { D: channels }, types: { T: dtype } };
  return x.graph.apply(normalizeInputOp, { x, flip }, { mean, std }, extra).y;
}

/**
 * Sum of two tensors of one shape and type (f32, bf16).
 *
 * @throws OnehourError ERR_ONEHOUR_SHAPE when they differ
 */
export function add(a: Value, b: Value): Value {
  return a.graph.apply(addOp, { a, b }, { relu: 0 }).y;
}

/** max(x, 0), any shape, f32 or bf16. */
export function relu(x: Value): Value {
  return x.graph.apply(reluOp, { x }).y;
}

/** The same numbers in another element type, f32 to bf16 rounded to nearest even. */
export function cast(x: Value, dtype: DataType): Value {
  return x.graph.apply(copyOp, { x }, {}, { types: { V: dtype } }).y;
}

/** factor · x for f32 tensors of any shape. */
export function scale(x: Value, factor: number): Value {
  return x.graph.apply(scaleOp, { x }, { factor }).y;
}
