// Ops on channels: a bias, multiplication by one number an image and channel, concatenation and slices.
import type { Op, Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { shapeError } from "../graph/signature.js";
import { type CaseRow, defineCases, linearDifference } from "./cases.js";
import { cast } from "./elementwise.js";

const multiplyBackward = defineOp<"db">({
  name: "multiply-backward",
  signature: "dy:T[N,H,W,C] a:T[N,H,W,C] -> db:T[N,C]",
});

const multiplyOp: Op<"y"> = defineOp<"y">({
  name: "multiply",
  signature: "a:T[N,H,W,C] b:T[N,C] -> y:T[N,H,W,C]",
  gradient: ({ inputs }, { y: dy }, wants) => {
    const { a, b } = inputs as { a: Value; b: Value };
    const g = a.graph;
    return {
      b: wants("b") ? g.apply(multiplyBackward, { dy, a }).db : undefined,
      a: wants("a") ? g.apply(multiplyOp, { a: dy, b }).y : undefined,
    };
  },
  replaces: { y: ["a"] },
});

const addBiasBackward = defineOp<"db">({
  name: "add-bias-backward",
  signature: "dy:T[N,H,W,C] db?:f32[C] -> db:f32[C]",
});

const addBiasOp = defineOp<"y">({
  name: "add-bias",
  signature: "x:T[N,H,W,C] b:f32[C] -> y:T[N,H,W,C]",
  gradient: ({ inputs }, { y: dy }, wants) => ({
    b: wants("b") ? inputs.x!.graph.apply(addBiasBackward, { dy }).db : undefined,
    x: dy,
  }),
  replaces: { y: ["x"] },
});

const sliceOp = defineOp<"y">({
  name: "slice",
  signature: "x:T[N,H,W,C] -> y:T[N,H,W,D]",
  derive: ({ sizes: { C = 0, D = 0 } }, { offset }) => {
    if ((offset as number) + D > C)
      throw shapeError("slice", `channels among ${C}`, `${D} from ${offset} on`);
  },
});

const concatenateOp = defineOp<"y">({
  name: "concatenate",
  signature: "a:T[N,H,W,C] b:T[N,H,W,D] -> y:T[N,H,W,E]",
  derive: ({ sizes }) => {
    sizes.E = (sizes.C ?? 0) + (sizes.D ?? 0);
  },
  gradient: ({ inputs }, { y: dy }, wants) => {
    const { a, b } = inputs as { a: Value; b: Value };
    const part = (offset: number, channels = 0) =>
      a.graph.apply(sliceOp, { x: dy }, { offset }, { sizes: { D: channels } }).y;
    return {
      a: wants("a") ? part(0, a.shape[3]) : undefined,
      b: wants("b") ? part(a.shape[3]!, b.shape[3]) : undefined,
    };
  },
});

/**
 * Every pixel times one number an image and channel, as squeeze-and-excitation weighs channels.
 *
 * @param a [N, H, W, C], f32, bf16 or f16
 * @param b [N, C]; converted to the type of a
 * @returns y [N, H, W, C]
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function multiply(a: Value, b: Value): Value {
  const factors = b.dtype === a.dtype ? b : cast(b, a.dtype);
  return a.graph.apply(multiplyOp, { a, b: factors }).y;
}

/**
 * One number a channel added to every pixel.
 *
 * @param x [N, H, W, C], f32, bf16 or f16
 * @param b f32 [C]
 * @returns y [N, H, W, C]
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function addBias(x: Value, b: Value): Value {
  return x.graph.apply(addBiasOp, { x, b }).y;
}

/**
 * The channels of several images of one size, one after another.
 *
 * @param values [N, H, W, C₁], [N, H, W, C₂], …, at least one, of one type, f32, bf16 or f16
 * @returns y [N, H, W, C₁ + C₂ + …]
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function concatenate(values: readonly [Value, ...Value[]]): Value {
  const [first, ...others] = values;
  return others.reduce<Value>((a, b) => a.graph.apply(concatenateOp, { a, b }).y, first);
}

/** Cases of multiplication by channel. */
defineCases<CaseRow & { x: readonly number[] }>({
  family: "multiply",
  rows: [
    { name: "odd size", x: [3, 5, 4, 7], dtype: "f32" },
    { name: "sixteen channels", x: [2, 7, 6, 16], dtype: "f32" },
    { name: "one pixel", x: [4, 1, 1, 33], dtype: "f32" },
    { name: "many pixels", x: [2, 23, 29, 8], dtype: "f32" },
    { name: "bf16", x: [2, 7, 5, 24], dtype: "bf16" },
    { name: "f16", x: [2, 7, 5, 24], dtype: "f16" },
  ],
  large: [{ name: "large multiply", x: [8, 56, 56, 256], dtype: "f32" }],
  inputs: ({ x }) => ({ a: { shape: x }, b: { shape: [x[0]!, x[3]!] } }),
  build: ({ a, b }) => multiply(a!, b!),
  difference: linearDifference,
});

/** Cases of a bias. */
defineCases<CaseRow & { x: readonly number[] }>({
  family: "add-bias",
  rows: [
    { name: "odd size", x: [3, 5, 4, 7], dtype: "f32" },
    { name: "many pixels", x: [2, 31, 37, 8], dtype: "f32" },
    { name: "bf16", x: [2, 7, 5, 24], dtype: "bf16" },
    { name: "f16", x: [2, 7, 5, 24], dtype: "f16" },
  ],
  large: [{ name: "large bias", x: [8, 56, 56, 256], dtype: "f32" }],
  inputs: ({ x }) => ({ x: { shape: x }, b: { shape: [x[3]!], f32: true } }),
  build: ({ x, b }) => addBias(x!, b!),
  difference: linearDifference,
});

/** Cases of concatenation: `others` holds the second one's channels. */
defineCases<CaseRow & { x: readonly number[]; others: number }>({
  family: "concatenate",
  rows: [
    { name: "odd counts", x: [2, 3, 5, 7], others: 4, dtype: "f32" },
    { name: "sixteen and eight", x: [2, 4, 3, 16], others: 8, dtype: "f32" },
    { name: "one and many", x: [3, 1, 2, 1], others: 33, dtype: "f32" },
    { name: "bf16", x: [2, 5, 4, 16], others: 24, dtype: "bf16" },
    { name: "f16", x: [2, 5, 4, 16], others: 24, dtype: "f16" },
  ],
  large: [{ name: "large concatenation", x: [8, 28, 28, 256], others: 32, dtype: "f32" }],
  inputs: ({ x, others }) => ({ a: { shape: x }, b: { shape: [...x.slice(0, 3), others] } }),
  build: ({ a, b }) => concatenate([a!, b!]),
  difference: linearDifference,
});
