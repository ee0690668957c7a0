// Checks shape rules: each op's outputs, and its message when the inputs do not fit.
import { describe, expect, it } from "vitest";
import { type DataType, Graph, type Value } from "../../lib/graph/graph.js";
import { describeTensor } from "../../lib/graph/signature.js";
import { conv2dBackwardData, conv2dBackwardWeight } from "../../lib/ops/conv.js";
import {
  add,
  allGather,
  allReduce,
  batchNorm,
  broadcast,
  cast,
  conv2d,
  globalAveragePool,
  linear,
  maxPool,
  normalizeInput,
  relu,
  scale,
  sgd,
  softmaxCrossEntropy,
} from "../../lib/ops/index.js";

type Make = (dtype: DataType, ...shape: number[]) => Value;

/** The last node's outputs as text. */
function outputs(build: (make: Make, g: Graph) => unknown): string {
  const g = new Graph();
  build((dtype, ...shape) => g.input(shape, dtype), g);
  const node = g.nodes.at(-1)!;
  return Object.entries(node.outputs)
    .map(([name, value]) => describeTensor(name, value))
    .join(" ");
}

const norm = (t: Make, x: Value, C: number, changes: object = {}) =>
  batchNorm(x, {
    gamma: t("f32", C),
    beta: t("f32", C),
    runningMean: t("f32", C),
    runningVariance: t("f32", C),
    ...changes,
  });

const update = (t: Make, L: number, changes: object = {}) =>
  sgd(
    { w: t("f32", L), g: t("f32", L), v: t("f32", L), schedule: t("f32", 2) },
    {
      form: "gradient",
      nesterov: true,
      momentum: 0.9,
      segments: [{ length: 32, decay: 1e-4 }],
      ...changes,
    },
  );

const shapes: [string, (t: Make, g: Graph) => unknown, string][] = [
  ["conv2d", (t) => conv2d(t("f32", 2, 9, 8, 3), t("f32", 16, 3, 3, 3)), "y:f32[2,7,6,16]"],
  [
    "conv2d with stride and padding",
    (t) => conv2d(t("bf16", 2, 224, 224, 4), t("bf16", 64, 7, 7, 4), { stride: 2, padding: 3 }),
    "y:bf16[2,112,112,64]",
  ],
  [
    "conv2d with unequal axes",
    (t) => conv2d(t("f32", 1, 8, 8, 1), t("f32", 1, 1, 3, 1), { stride: [2, 1], padding: [0, 1] }),
    "y:f32[1,4,8,1]",
  ],
  [
    "conv2d-backward-data",
    (t, g) =>
      g.apply(
        conv2dBackwardData,
        { dy: t("bf16", 2, 4, 4, 16), w: t("bf16", 16, 3, 3, 8) },
        { stride: [2, 2], padding: [1, 1] },
        { sizes: { H: 8, W: 7 } },
      ),
    "dx:bf16[2,8,7,8]",
  ],
  [
    "conv2d-backward-weight",
    (t, g) =>
      g.apply(
        conv2dBackwardWeight,
        { x: t("bf16", 2, 8, 8, 8), dy: t("bf16", 2, 4, 4, 16) },
        { stride: [2, 2], padding: [1, 1] },
        { sizes: { R: 3, S: 3 } },
      ),
    "dw:f32[16,3,3,8]",
  ],
  ["batch norm", (t) => norm(t, t("bf16", 2, 4, 4, 8), 8), "y:bf16[2,4,4,8]"],
  [
    "batch norm in inference",
    (t) => norm(t, t("f32", 2, 4, 4, 8), 8, { training: false }),
    "y:f32[2,4,4,8]",
  ],
  [
    "max-pool",
    (t) => maxPool(t("f32", 2, 112, 112, 64), { window: 3, stride: 2, padding: 1 }),
    "y:f32[2,56,56,64] index:u8[2,56,56,64]",
  ],
  ["global-average-pool", (t) => globalAveragePool(t("bf16", 2, 7, 7, 512)), "y:bf16[2,512]"],
  [
    "normalize-input",
    (t) =>
      normalizeInput(t("u8", 2, 28, 28, 3), {
        mean: [0, 0, 0],
        std: [1, 1, 1],
        flip: t("u8", 2),
        dtype: "bf16",
        channels: 4,
      }),
    "y:bf16[2,28,28,4]",
  ],
  ["add", (t) => add(t("f32", 3, 5), t("f32", 3, 5)), "y:f32[3,5]"],
  ["relu", (t) => relu(t("bf16", 7)), "y:bf16[7]"],
  ["copy", (t) => cast(t("f32", 2, 3), "bf16"), "y:bf16[2,3]"],
  ["scale", (t) => scale(t("f32"), 2), "y:f32[]"],
  ["linear", (t) => linear(t("bf16", 2, 64), t("bf16", 10, 64), t("f32", 10)), "y:f32[2,10]"],
  [
    "softmax-cross-entropy",
    (t) => softmaxCrossEntropy(t("f32", 2, 10), t("i32", 2)),
    "metrics:f32[4] probabilities:f32[2,10]",
  ],
  ["sgd", (t) => update(t, 32), "w:f32[32] v:f32[32] finite:f32[1]"],
  [
    "sgd with everything",
    (t) => update(t, 32, { zero: true, copy: true }),
    "w:f32[32] v:f32[32] g:f32[32] copy:bf16[32] finite:f32[1]",
  ],
  ["all-reduce", (t) => allReduce(t("f32", 5), { communicator: "c" }), "x:f32[5]"],
  ["broadcast", (t) => broadcast(t("f32", 5), { communicator: "c" }), "x:f32[5]"],
  ["all-gather", (t) => allGather(t("f32", 1, 33), { communicator: "c", size: 4 }), "y:f32[4,33]"],
];

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
    (t) => norm(t, t("f32", 2, 4, 4, 8), 7),
    /\[batch-norm-finalize\] expected running-mean:f32\[8\]/,
  ],
  [
    "a residual of another shape",
    (t) => norm(t, t("f32", 2, 4, 4, 8), 8, { residual: t("f32", 2, 4, 4, 4) }),
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
        "Uint8Array for u8, Uint16Array or Float32Array for bf16, Uint16Array for f16; " +
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

describe("shapes", () => {
  it.each(shapes)("%s", (_, build, expected) => {
    expect(outputs(build)).toBe(expected);
  });
});

describe("refused", () => {
  it.each(errors)("%s", (_, build, message) => {
    expect(() => outputs(build)).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^ERR_ONEHOUR_/),
        message: expect.stringMatching(message),
      }),
    );
  });
});
