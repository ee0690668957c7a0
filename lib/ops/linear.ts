// The fully connected layer and its gradients.
import type { Value } from "../graph/graph.js";
import { defineOp, elements } from "../graph/graph.js";
import { type CaseRow, defineCases, linearDifference } from "./cases.js";
import { cast } from "./elementwise.js";

const linearBackwardWeight = defineOp<"dw" | "db">({
  name: "linear-backward-weight",
  signature: "x:T[N,C] dy:T[N,K] dw?:f32[K,C] db?:f32[K] -> dw:f32[K,C] db:f32[K]",
  products: ({ x = [], dw = [] }) => (x[0] ?? 0) * elements(dw),
});

const linearBackwardData = defineOp<"dx">({
  name: "linear-backward-data",
  signature: "dy:T[N,K] w:T[K,C] -> dx:T[N,C]",
  products: ({ dx = [], w = [] }) => elements(dx) * (w[0] ?? 0),
});

const linearOp = defineOp<"y">({
  name: "linear",
  signature: "x:T[N,C] w:T[K,C] b:f32[K] -> y:f32[N,K]",
  products: ({ x = [], w = [] }) => (x[0] ?? 0) * elements(w),
  gradient: ({ inputs }, d, wants) => {
    const { x, w } = inputs as { x: Value; w: Value };
    const dy = d.y!.dtype === x.dtype ? d.y! : cast(d.y!, x.dtype);
    const g = x.graph;
    const weight = wants("w") || wants("b") ? g.apply(linearBackwardWeight, { x, dy }) : undefined;
    return {
      w: weight?.dw,
      b: weight?.db,
      x: wants("x") ? g.apply(linearBackwardData, { dy, w }).dx : undefined,
    };
  },
});

/**
 * y = x·wᵀ + b.
 *
 * @param x [N, C], f32, bf16 or f16
 * @param w [K, C] of the same type
 * @param b f32 [K]
 * @returns y f32 [N, K], whatever the type of x
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function linear(x: Value, w: Value, b: Value): Value {
  return x.graph.apply(linearOp, { x, w, b }).y;
}

/** Cases of the fully connected layer. */
defineCases<CaseRow & { x: readonly number[]; classes: number }>({
  family: "linear",
  rows: [
    { name: "odd", x: [3, 17], classes: 5, dtype: "f32" },
    { name: "ten classes", x: [8, 64], classes: 10, dtype: "f32" },
    { name: "one image, one feature", x: [1, 1], classes: 2, dtype: "f32" },
    { name: "bf16", x: [9, 64], classes: 10, dtype: "bf16" },
    { name: "f16", x: [9, 64], classes: 10, dtype: "f16" },
  ],
  sizes: [
    { name: "7 classes", x: [5, 17], classes: 7, dtype: "f32" },
    { name: "1 feature, 3 classes", x: [1, 1], classes: 3, dtype: "f32" },
    { name: "1000 classes", x: [9, 33], classes: 1000, dtype: "f32" },
  ],
  large: [{ name: "a minibatch's classes", x: [257, 512], classes: 1000, dtype: "f32" }],
  inputs: ({ x, classes }) => ({
    x: { shape: x },
    w: { shape: [classes, x[1]!], deviation: 0.5 },
    b: { shape: [classes], f32: true },
  }),
  build: ({ x, w, b }) => linear(x!, w!, b!),
  difference: linearDifference,
});
