// Refuses inputs that do not fit an op. The outputs' shapes are those of its cases (test/ops).
import { expect, test } from "vitest";
import { type DataType, Graph, type Value } from "../../lib/graph/graph.js";
import {
  add,
  allGather,
  conv2d,
  linear,
  maxPool,
  normalizeInput,
  relu,
  sgd,
  softmaxCrossEntropy,
} from "../../lib/ops/index.js";
import { normOf } from "./options.js";

type Make = (dtype: DataType, ...shape: number[]) => Value;

const update = (t: Make, L: number, changes: object = {}, norms?: Value) =>
  sgd(
    { w: t("f32", L), g: t("f32", L), v: t("f32", L), schedule: t("f32", 2), norms },
    {
      form: "gradient",
      nesterov: true,
      momentum: 0.9,
      segments: [{ length: 32, decay: 1e-4 }],
      ...changes,
    },
  );

const errors: [string, (t: Make, g: Graph) => unknown, RegExp][] = [
  [
    "other channels",
    (t) => conv2d(t("f32", 2, 8, 8, 3), t("f32", 16, 3, 3, 4)),
    /^\[conv2d\] expected w:f32\[K,R,S,3\], got w:f32\[16,3,3,4\] \(with x:f32\[2,8,8,3\]\)$/,
  ],
  [
    "other types",
    (t) => conv2d(t("bf16", 2, 8, 8, 3), t("f32", 16, 3, 3, 3)),
    /\[conv2d\] expected w:bf16\[K,R,S,D\], got w:f32\[16,3,3,3\]/,
  ],
  [
    "too few axes",
    (t) => conv2d(t("f32", 8, 8, 3), t("f32", 16, 3, 3, 3)),
    /\[conv2d\] expected x:T\[N,H,W,C\]/,
  ],
  [
    "an image smaller than the filter",
    (t) => conv2d(t("f32", 1, 2, 2, 3), t("f32", 16, 3, 3, 3)),
    /\[conv2d\] expected an image of at least the window's 3×3 .* got 2×2/,
  ],
  [
    "an image smaller than the window",
    (t) => maxPool(t("f32", 1, 2, 2, 3), { window: 3, stride: 2 }),
    /\[max-pool\] expected an image/,
  ],
  ["integers", (t) => relu(t("i32", 3)), /\[relu\] expected x:T\[...\], got x:i32\[3\]/],
  [
    "γ of another length",
    (t, g) => normOf(g, t("f32", 2, 4, 4, 8), { gamma: t("f32", 7), runningMean: t("f32", 7) }),
    /\[batch-norm-finalize\] expected running-mean:f32\[8\]/,
  ],
  [
    "a residual of another shape",
    (t, g) => normOf(g, t("f32", 2, 4, 4, 8), { residual: t("f32", 2, 4, 4, 4) }),
    /\[add\] expected b:f32\[2,4,4,8\], got b:f32\[2,4,4,4\]/,
  ],
  ["unequal terms", (t) => add(t("f32", 3, 5), t("f32", 5, 3)), /\[add\] expected b:f32\[3,5\]/],
  [
    "a mean of another length",
    (t) => normalizeInput(t("u8", 1, 2, 2, 3), { mean: [0], std: [1, 1, 1] }),
    /\[normalize-input\] expected 3 numbers in mean/,
  ],
  [
    "too few channels",
    (t) => normalizeInput(t("u8", 1, 2, 2, 3), { mean: [0, 0, 0], std: [1, 1, 1], channels: 2 }),
    /\[normalize-input\] expected at least 3 channels/,
  ],
  [
    "features of another length",
    (t) => linear(t("f32", 2, 64), t("f32", 10, 32), t("f32", 10)),
    /\[linear\] expected w:f32\[K,64\], got w:f32\[10,32\]/,
  ],
  [
    "labels of another batch",
    (t) => softmaxCrossEntropy(t("f32", 2, 10), t("i32", 3)),
    /\[softmax-cross-entropy\] expected labels:i32\[2\], got labels:i32\[3\]/,
  ],
  [
    "segments that do not add up",
    (t) => update(t, 48),
    /\[sgd\] expected segments of 48 elements .*\(32\)/,
  ],
  [
    "norms of more tensors than segments",
    (t) => update(t, 32, {}, t("f32", 2, 3)),
    /\[sgd\] expected norms and adapts of 1 segments, got 2/,
  ],
  [
    "an all-reduce of bytes",
    (t) => allGather(t("u8", 1, 3), { communicator: "c", size: 2 }),
    /\[all-gather\] expected x:f32/,
  ],
  [
    "an operand of another graph",
    (t) => add(t("f32", 2), new Graph().input([2])),
    /\[add\] b belongs to another graph/,
  ],
  [
    "a constant of another size",
    (_, g) => g.constant(new Float32Array(5), [2, 3]),
    /\[constant\] expected 6 elements for f32\[2,3\], got 5/,
  ],
  ...(
    [
      ["a list", [1, 2], "an Array"],
      ["a nested list", [[1], [2]], "an Array"],
      ["doubles", Float64Array.of(1, 2), "Float64Array"],
      ["bytes with a sign", Int8Array.of(1, 2), "Int8Array"],
      ["clamped bytes", Uint8ClampedArray.of(1, 2), "Uint8ClampedArray"],
      ["big integers", BigInt64Array.of(1n, 2n), "BigInt64Array"],
      ["a buffer", new ArrayBuffer(2), "ArrayBuffer"],
      ["a view of two bytes", new DataView(new ArrayBuffer(2)), "DataView"],
      ["a number", 5, "5"],
      ["nothing", undefined, "undefined"],
      ["null", null, "null"],
      ["an object without a prototype", Object.create(null), "an object"],
    ] as [string, never, string][]
  ).map(([name, data, got]): (typeof errors)[number] => [
    `${name} as a constant`,
    (_, g) => g.constant(data, [2]),
    new RegExp(
      "\\[constant\\] expected a typed array, Float32Array for f32, Int32Array for i32, " +
        "Uint8Array for u8, Uint16Array or Float32Array for bf16, Uint16Array or Float32Array for f16; " +
        `got ${got}\\. Convert`,
    ),
  ]),
  [
    "a constant of an array for another type",
    (_, g) => g.constant(Int32Array.of(1, 2), [2], "f32"),
    /\[constant\] expected a typed array, Float32Array for f32; got Int32Array\./,
  ],
  [
    "a constant of no type",
    (_, g) => g.constant(Int32Array.of(1, 2), [2], "f64" as never),
    /\[constant\] expected a type of f32, i32, u8, bf16, f16, got f64/,
  ],
  [
    "a constant of no shape",
    (_, g) => g.constant(Float32Array.of(1, 2), 2 as never),
    /\[constant\] expected a shape of whole numbers, such as \[2, 3\], got 2/,
  ],
  [
    "a constant of a negative shape",
    (_, g) => g.constant(Float32Array.of(1, 2), [-1, -2]),
    /\[constant\] expected a shape .* got \[-1, -2\]/,
  ],
];

test.each(errors)("refused: %s", (_, build, message) => {
  const g = new Graph();
  expect(() => build((dtype, ...shape) => g.input(shape, dtype), g)).toThrow(
    expect.objectContaining({
      code: expect.stringMatching(/^ERR_ONEHOUR_/),
      message: expect.stringMatching(message),
    }),
  );
});
