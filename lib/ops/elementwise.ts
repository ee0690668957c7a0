// Ops that work element by element: input normalisation, addition, activations, conversion, scaling;
// and flattening, which leaves every element as it is.
import type { DataType, Op, Storage, Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { shapeError } from "../graph/signature.js";
import { type CaseRow, defineCases, linearDifference } from "./cases.js";

const normalizeInputOp = defineOp<"y">({
  name: "normalize-input",
  signature: "x:u8[N,H,W,C] flip?:u8[N] -> y:T[N,H,W,D]",
  derive: ({ sizes: { C = 0, D = 0 } }, { mean, std }) => {
    for (const [name, list] of Object.entries({ mean, std }))
      if ((list as readonly number[]).length !== C)
        throw shapeError("normalize-input", `${C} numbers in ${name}, one a channel`, `${list}`);
    if (D < C) throw shapeError("normalize-input", `at least ${C} channels in y`, `${D}`);
  },
});

const addOp = defineOp<"y">({
  name: "add",
  signature: "a:T[...] b:T[...] -> y:T[...]",
  gradient: (_, { y: dy }) => ({ a: dy, b: dy }),
  replaces: { y: ["a", "b"] },
});

const reluBackward = defineOp<"dx">({
  name: "relu-backward",
  signature: "dy:T[...] y:T[...] -> dx:T[...]",
  replaces: { dx: ["dy", "y"] },
});

const reluOp = defineOp<"y">({
  name: "relu",
  signature: "x:T[...] -> y:T[...]",
  gradient: ({ inputs, outputs }, { y: dy }) => ({
    x: inputs.x!.graph.apply(reluBackward, { dy, y: outputs.y }).dx,
  }),
  replaces: { y: ["x"] },
});

const sigmoidBackward = defineOp<"dx">({
  name: "sigmoid-backward",
  signature: "dy:T[...] y:T[...] -> dx:T[...]",
  replaces: { dx: ["dy", "y"] },
});

const sigmoidOp = defineOp<"y">({
  name: "sigmoid",
  signature: "x:T[...] -> y:T[...]",
  gradient: ({ inputs, outputs }, { y: dy }) => ({
    x: inputs.x!.graph.apply(sigmoidBackward, { dy, y: outputs.y }).dx,
  }),
  replaces: { y: ["x"] },
});

const flattenBackward = defineOp<"dx">({
  name: "flatten-backward",
  signature: "dy:T[N,F] -> dx:T[N,H,W,C]",
});

const flattenOp = defineOp<"y">({
  name: "flatten",
  signature: "x:T[N,H,W,C] -> y:T[N,F]",
  derive: ({ sizes }) => {
    const { H = 0, W = 0, C = 0 } = sizes;
    sizes.F = H * W * C;
  },
  gradient: ({ inputs }, { y: dy }) => {
    const [, H = 0, W = 0, C = 0] = inputs.x!.shape;
    return { x: inputs.x!.graph.apply(flattenBackward, { dy }, {}, { sizes: { H, W, C } }).dx };
  },
});

export const copyOp = defineOp<"y">({
  name: "copy",
  signature: "x:U[...] -> y:V[...]",
  gradient: ({ inputs }, { y: dy }) => ({ x: cast(dy!, inputs.x!.dtype) }),
});

const scaleOp: Op<"y"> = defineOp<"y">({
  name: "scale",
  signature: "x:f32[...] -> y:f32[...]",
  gradient: ({ inputs, attributes }, { y: dy }) => ({
    x: inputs.x!.graph.apply(scaleOp, { x: dy }, { ...attributes }).y,
  }),
  replaces: { y: ["x"] },
});

const lerpOp = defineOp<"y">({
  name: "lerp",
  signature: "start:f32[...] end:f32[...] weight:f32[1] -> y:f32[...]",
  replaces: { y: ["start", "end"] },
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
 * Sum of two tensors of one shape and type (f32, bf16, f16).
 *
 * @throws OnehourError ERR_ONEHOUR_SHAPE when they differ
 */
export function add(a: Value, b: Value): Value {
  return a.graph.apply(addOp, { a, b }, { relu: 0 }).y;
}

/** max(x, 0), any shape, f32, bf16 or f16. */
export function relu(x: Value): Value {
  return x.graph.apply(reluOp, { x }).y;
}

/** 1 / (1 + exp(−x)), any shape, f32, bf16 or f16. */
export function sigmoid(x: Value): Value {
  return x.graph.apply(sigmoidOp, { x }).y;
}

/** The elements of each image in a row, as they lie in memory: x [N, H, W, C] to y [N, H·W·C]. */
export function flatten(x: Value): Value {
  return x.graph.apply(flattenOp, { x }).y;
}

/** The same numbers in another type, rounded to nearest even, f16 from 65,520 on to infinity; `into` says where. */
export function cast(x: Value, dtype: DataType, into?: Storage): Value {
  const types = { V: dtype };
  return x.graph.apply(copyOp, { x }, {}, { types, ...(into && { into: { y: into } }) }).y;
}

/** factor · x for f32 tensors of any shape; `into` says where. */
export function scale(x: Value, factor: number, into?: Storage): Value {
  return x.graph.apply(scaleOp, { x }, { factor }, into && { into: { y: into } }).y;
}

/**
 * start + weight·(end − start), as PyTorch's torch.lerp: exactly `end` for a weight of 1, and `start` for 0,
 * whatever `end` is.
 *
 * @param start f32, any shape
 * @param end f32, the same shape
 * @param weight f32 [1], known on the device alone
 */
export function lerp(start: Value, end: Value, weight: Value, into?: Storage): Value {
  return start.graph.apply(lerpOp, { start, end, weight }, {}, into && { into: { y: into } }).y;
}

/** Sizes of ops that work element by element. */
const sizes: (CaseRow & { x: readonly number[] })[] = [
  { name: "1 element", x: [1], dtype: "f32" },
  { name: "odd elements", x: [3, 5, 7, 11], dtype: "f32" },
];
const large: typeof sizes = [{ name: "many elements", x: [1_000_003], dtype: "f32" }];

/** Cases of ReLU; no value is nearer to zero than 1/128. */
defineCases<CaseRow & { x: readonly number[] }>({
  family: "relu",
  rows: [
    { name: "odd size", x: [2, 3, 5, 7], dtype: "f32" },
    { name: "bf16", x: [2, 3, 5, 16], dtype: "bf16" },
    { name: "f16", x: [2, 3, 5, 16], dtype: "f16" },
  ],
  sizes,
  large,
  inputs: ({ x }) => ({ x: { shape: x } }),
  build: ({ x }) => relu(x!),
  tolerance: () => 3e-6, // exact in every type
  difference: () => ({ step: 1 / 256, tolerance: 1e-4 }),
});

/** Cases of addition, with ReLU after it or not; no sum is nearer to zero than 1/128. */
defineCases<CaseRow & { x: readonly number[]; relu: 0 | 1 }>({
  family: "add",
  rows: [
    { name: "plain", x: [2, 3, 5, 7], relu: 0, dtype: "f32" },
    { name: "relu", x: [2, 3, 5, 16], relu: 1, dtype: "f32" },
    { name: "relu bf16", x: [1, 3, 5, 17], relu: 1, dtype: "bf16" },
    { name: "relu f16", x: [1, 3, 5, 17], relu: 1, dtype: "f16" },
  ],
  sizes: sizes.map((row) => ({ ...row, relu: 1 })),
  large: large.map((row) => ({ ...row, relu: 1 })),
  inputs: ({ x }) => ({ a: { shape: x }, b: { shape: x } }),
  build: ({ a, b }, row) => (row.relu ? relu(add(a!, b!)) : add(a!, b!)),
  difference: () => ({ step: 1 / 256, tolerance: 1e-4 }),
});

interface NormalizeRow extends CaseRow {
  x: readonly number[];
  channels: number;
  flip: 0 | 1;
  mean: readonly number[];
  std: readonly number[];
}

function pixels(
  name: string,
  x: readonly number[],
  options: Partial<Omit<NormalizeRow, "name" | "x">> = {},
): NormalizeRow {
  const { channels = x[3]!, flip = 1, dtype = "f32" } = options;
  const isGray = x[3] === 1;
  const mean = isGray ? [0.286] : [0.485, 0.456, 0.406];
  const std = isGray ? [0.353] : [0.229, 0.224, 0.225];
  return { name, x, channels, flip, mean, std, dtype };
}

/** Cases of input normalisation. */
defineCases<NormalizeRow>({
  family: "normalize-input",
  rows: [
    pixels("one channel", [3, 5, 7, 1], { flip: 0 }),
    pixels("three channels, flipped", [4, 3, 5, 3]),
    pixels("padded to four channels", [3, 4, 6, 3], { channels: 4 }),
    pixels("bf16, flipped", [3, 5, 8, 1], { dtype: "bf16" }),
    pixels("f16, flipped", [3, 5, 8, 1], { dtype: "f16" }),
  ],
  sizes: [
    pixels("one channel, flipped", [3, 5, 7, 1]),
    pixels("padded to four channels, odd", [3, 4, 5, 3], { channels: 4 }),
    pixels("one image of three channels", [1, 3, 5, 3], { flip: 0 }),
  ],
  large: [pixels("photographs", [8, 224, 223, 3], { channels: 4 })],
  inputs: ({ x, flip }) => ({
    x: { shape: x, bytes: 256 },
    ...(flip ? { flip: { shape: [x[0]!], bytes: 2 } } : {}),
  }),
  build: ({ x, flip }, { mean, std, dtype, channels }) =>
    normalizeInput(x!, { mean, std, flip, dtype, channels }),
});

/** Conversions to each of the types of 16 bits. */
const casts = (rows: typeof sizes) =>
  (["bf16", "f16"] as const).flatMap((to) =>
    rows.map((row) => ({ ...row, to, name: `${row.name} to ${to}` })),
  );

/** Cases of conversion, to bf16 and f16 and back; its test says what it rounds to. */
defineCases<CaseRow & { x: readonly number[]; to: DataType }>({
  family: "cast",
  rows: [],
  sizes: casts(sizes),
  large: casts(large),
  inputs: ({ x }) => ({ x: { shape: x } }),
  build: ({ x }, { dtype, to }) => cast(x!, dtype === to ? "f32" : to),
  difference: linearDifference,
});

/** Cases of scaling. */
defineCases<CaseRow & { x: readonly number[] }>({
  family: "scale",
  rows: [],
  sizes,
  large,
  inputs: ({ x }) => ({ x: { shape: x, f32: true } }),
  build: ({ x }) => scale(x!, -0.375),
  difference: linearDifference,
});

/** Cases of interpolation. */
defineCases<CaseRow & { x: readonly number[]; weight: number }>({
  family: "lerp",
  rows: [
    { name: "near the start", x: [3, 5, 7], weight: 0.001, dtype: "f32" },
    { name: "near the end", x: [67], weight: 0.75, dtype: "f32" },
    { name: "at the start", x: [33], weight: 0, dtype: "f32" },
    { name: "at the end", x: [33], weight: 1, dtype: "f32" },
  ],
  sizes: sizes.map((row) => ({ ...row, weight: 0.1 })),
  large: large.map((row) => ({ ...row, weight: 0.1 })),
  inputs: ({ x }) => ({ start: { shape: x, f32: true }, end: { shape: x, f32: true } }),
  build: ({ start, end }, { weight }) =>
    lerp(start!, end!, start!.graph.constant(Float32Array.of(weight), [1])),
});

/** Cases of the sigmoid. */
defineCases<CaseRow & { x: readonly number[] }>({
  family: "sigmoid",
  rows: [
    { name: "odd size", x: [2, 3, 5, 7], dtype: "f32" },
    { name: "a row", x: [9, 16], dtype: "f32" },
    { name: "bf16", x: [2, 3, 5, 16], dtype: "bf16" },
    { name: "f16", x: [2, 3, 5, 16], dtype: "f16" },
  ],
  inputs: ({ x }) => ({ x: { shape: x, deviation: 3 } }),
  build: ({ x }) => sigmoid(x!),
  // y of bf16 or f16 is rounded before its gradient is computed from it, relative to 1 − y too.
  tolerance: ({ dtype }) => ({ bf16: 2 ** -6, f16: 2 ** -9, f32: 3e-6 })[dtype],
  // Truncation: a sixth of the square of the step, times the third derivative, an eighth at most.
  difference: () => ({ step: 2 ** -6, tolerance: 2e-3 }),
});

/** Cases of flattening. */
defineCases<CaseRow & { x: readonly number[] }>({
  family: "flatten",
  rows: [
    { name: "odd size", x: [2, 3, 5, 7], dtype: "f32" },
    { name: "bf16", x: [2, 2, 3, 16], dtype: "bf16" },
    { name: "f16", x: [2, 2, 3, 16], dtype: "f16" },
  ],
  inputs: ({ x }) => ({ x: { shape: x } }),
  build: ({ x }) => flatten(x!),
  difference: linearDifference,
});
