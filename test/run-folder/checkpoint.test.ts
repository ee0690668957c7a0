// Writes checkpoint files and reads them back, and accepts nothing broken or foreign.
import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  bestName,
  checkpointName,
  formatCheckpoint,
  parseCheckpoint,
  previousName,
  readCheckpoint,
} from "../../lib/run-folder/checkpoint.js";
import { keepAs } from "../../lib/run-folder/files.js";
import { readLastCheckpoint, saveCheckpoint } from "../../lib/run-folder/last-checkpoint.js";
import { requireModelWeights } from "../../lib/run-folder/model-weights.js";
import { formatSafetensors, parseSafetensors } from "../../lib/run-folder/safetensors.js";
import { temporaryFolder } from "../support/folder.js";
import { headOf, layout, position } from "./layout.js";

const folder = temporaryFolder();
const parameters = [
  layout("conv1.weight", [2, 1, 3, 3], "convolution"),
  layout("fc.bias", [3], "bias"),
];
const statistics = [layout("bn1.running_mean", [2], "running-mean")];
const layouts = [...parameters, ...statistics];

function values(seed: number): Map<string, Float32Array> {
  return new Map(
    layouts.map(({ name, shape }, i) => [
      name,
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, j) => seed + i + j / 7),
    ]),
  );
}

const origin = { id: "1f2e", data: "0123abcd", recipe: { model: "resnet8" } };

/** A checkpoint's bytes; with `ranks` two ranks have running statistics of their own. */
async function whole(seed = 1, ranks?: Map<string, Float32Array>[]): Promise<Buffer> {
  const momentum = new Map([...values(seed + 10)].filter(([name]) => !name.includes("running")));
  const state = { weights: values(seed), momentum, ...(ranks ? { ranks } : {}) };
  const at = { ...position, step: seed };
  return Buffer.concat(await formatCheckpoint(layouts, state, at, "resnet8", origin));
}

const readLast = (run: string, warn = (_: string) => {}) =>
  readLastCheckpoint(run, { parameters, statistics }, "resnet8", warn);

test("reads back every bit", async () => {
  const read = parseCheckpoint("file", await whole(12));
  expect(read.weights).toEqual(values(12));
  expect(read.momentum?.get("conv1.weight")).toEqual(values(22).get("conv1.weight"));
  expect(read.momentum?.has("bn1.running_mean")).toBe(false);
  expect(read.position).toEqual(position);
  expect(read.model).toBe("resnet8");
});

const ownMeans = (...means: number[][]) =>
  means.map((mean) => new Map([["bn1.running_mean", Float32Array.from(mean)]]));

test("keeps each rank's own running statistics as well as the averaged ones", async () => {
  const ranks = ownMeans([1, 2], [3, 5]);
  const bytes = await whole(2, ranks);
  const read = parseCheckpoint("file", bytes);
  expect(read.ranks).toEqual(ranks);
  expect(read.weights).toEqual(values(2));
  expect([...parseSafetensors("file", bytes).tensors.keys()].slice(-2)).toEqual([
    "rank.0.bn1.running_mean",
    "rank.1.bn1.running_mean",
  ]);
  requireModelWeights("file", read, layouts, "resnet8"); // readers of weights skip them
  expect(parseCheckpoint("file", await whole()).ranks).toBeUndefined();
});

test.each<[string, Record<string, number>, RegExp]>([
  ["one rank lacks them", { 0: 2, 2: 2 }, /no tensor rank\.1\.bn1\.running_mean of \[2\].*init: /],
  [
    "one has another shape",
    { 0: 2, 1: 3 },
    /no tensor rank\.1\.bn1\.running_mean of \[2\].*init: /,
  ],
])("no run continues where of the ranks' running statistics %s", async (name, lengths, message) => {
  const run = join(folder, name);
  mkdirSync(run);
  const extra = Object.entries(lengths).map(([rank, length]) =>
    layout(`rank.${rank}.bn1.running_mean`, [length], "running-mean"),
  );
  const weights = new Map([
    ...values(1),
    ...extra.map(({ name, shape }) => [name, new Float32Array(shape[0]!)] as const),
  ]);
  const state = { weights, momentum: values(2) };
  const pieces = await formatCheckpoint([...layouts, ...extra], state, position, "resnet8", origin);
  writeFileSync(join(run, checkpointName), Buffer.concat(pieces));
  await expect(readLast(run)).rejects.toThrow(message);
});

test("it is a safetensors file with torchvision's names and shapes", async () => {
  const { tensors, metadata } = parseSafetensors("file", await whole());
  expect([...tensors.keys()]).toEqual([
    "conv1.weight",
    "fc.bias",
    "bn1.running_mean",
    "momentum.conv1.weight",
    "momentum.fc.bias",
  ]);
  expect(tensors.get("conv1.weight")?.shape).toEqual([2, 1, 3, 3]);
  expect(metadata).toMatchObject({ step: "1", epoch: "3", seed: "9" });
});

test("cut anywhere, it is refused by name", async () => {
  const bytes = await whole();
  for (let length = 0; length < bytes.length; length++) {
    expect(() => parseCheckpoint("torn.safetensors", bytes.subarray(0, length))).toThrow(
      /^torn\.safetensors: /,
    );
  }
});

test("a flipped bit anywhere in a tensor is noticed", async () => {
  const bytes = await whole();
  const data = 8 + Number(bytes.readBigUInt64LE(0));
  for (let at = data; at < bytes.length; at += 3) {
    const broken = Buffer.from(bytes);
    broken[at]! ^= 0x10;
    expect(() => parseCheckpoint("file", broken)).toThrow(/checksum/);
  }
});

const withHeader = (header: unknown, data = 0) =>
  Buffer.concat([headOf(header), Buffer.alloc(data)]);
const f32 = (shape: number[], begin: number, end: number) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

test.each<[string, Buffer, RegExp]>([
  ["another format", Buffer.from("PK\x03\x04 some archive of weights"), /another format/],
  ["a header that is not an object", withHeader([1]), /not a JSON object/],
  ["a huge header", Buffer.from("ffffffffffffff7f7b7d7b7d", "hex"), /header would take/],
  ["overlapping tensors", withHeader({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12), /begins at 4/],
  ["a hole", withHeader({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), /begins at 8, not at 4/],
  ["bytes of no tensor", withHeader({ a: f32([1], 0, 4) }, 8), /belong to no tensor/],
  ["a wrong size", withHeader({ a: f32([3], 0, 8) }, 8), /its shape needs 12/],
  ["an end before the beginning", withHeader({ a: f32([1], 8, 4) }, 8), /ends at|bytes/],
  ["an offset outside", withHeader({ a: f32([1e15], 0, 4e15) }, 8), /cut short/],
  ["a negative size", withHeader({ a: f32([-1], 0, 4) }, 4), /valid dtype/],
  [
    "an unknown dtype",
    withHeader({ a: { ...f32([1], 0, 4), dtype: "F8_E4M3" } }, 4),
    /valid dtype/,
  ],
])("refused: %s", (_, bytes, message) => {
  expect(() => parseSafetensors("some/file", bytes)).toThrow(message);
  expect(() => parseSafetensors("some/file", bytes)).toThrow(/^some\/file: /);
});

test("weights from elsewhere: other float types, and PyTorch's counters are passed over", () => {
  const header = {
    "fc.bias": { dtype: "F64", shape: [3], data_offsets: [0, 24] },
    half: { dtype: "F16", shape: [4], data_offsets: [24, 32] },
    brain: { dtype: "BF16", shape: [2], data_offsets: [32, 36] },
    "bn1.num_batches_tracked": { dtype: "I64", shape: [], data_offsets: [36, 44] },
  };
  const bytes = withHeader(header, 44);
  const data = bytes.subarray(bytes.length - 44);
  [0.5, -2, 1e-3].forEach((x, i) => {
    data.writeDoubleLE(x, 8 * i);
  });
  [0x3c00, 0xc100, 0x0001, 0x7c00].forEach((x, i) => {
    data.writeUInt16LE(x, 24 + 2 * i);
  });
  [0x3fc0, 0xc000].forEach((x, i) => {
    data.writeUInt16LE(x, 32 + 2 * i);
  });
  const { weights, position, momentum } = parseCheckpoint("file", bytes);
  expect(weights.get("fc.bias")).toEqual(Float32Array.of(0.5, -2, 1e-3));
  expect(weights.get("half")).toEqual(Float32Array.of(1, -2.5, 2 ** -24, Number.POSITIVE_INFINITY));
  expect(weights.get("brain")).toEqual(Float32Array.of(1.5, -2));
  expect([...weights.keys()]).toEqual(["fc.bias", "half", "brain"]);
  expect([position, momentum]).toEqual([undefined, undefined]);
});

test.each([
  ["module.", ["module.fc.bias", "module.bn1.weight"], ["fc.bias", "bn1.weight"]],
  ["model.module.", ["model.module.fc.bias", "model.module.bn1.weight"], ["fc.bias", "bn1.weight"]],
  ["not of one only", ["module.fc.bias", "bn1.weight"], ["module.fc.bias", "bn1.weight"]],
  ["no part of a name", ["layer1.0.w", "layer10.0.w"], ["layer1.0.w", "layer10.0.w"]],
])("weights from elsewhere: a common prefix is taken off: %s", (_, names, expected) => {
  const tensors = names.map((name) => ({ name, shape: [1], data: Float32Array.of(1) }));
  const bytes = Buffer.concat(formatSafetensors(tensors, { format: "pt" }));
  const { weights, shapes } = parseCheckpoint("file", bytes);
  expect([...weights.keys()]).toEqual(expected);
  expect([...shapes.keys()]).toEqual(expected);
});

test("weights from elsewhere: an average of models has a counter outside the prefix", () => {
  const f32 = (at: number) => ({ dtype: "F32", shape: [1], data_offsets: [at, at + 4] });
  const i64 = (shape: number[], at: number) => ({
    dtype: "I64",
    shape,
    data_offsets: [at, at + 8],
  });
  const header = {
    "module.conv1.weight": f32(0),
    "module.bn1.weight": f32(4),
    n_averaged: i64([], 8),
    "module.bn1.num_batches_tracked": i64([], 16),
    steps: i64([1], 24),
    decay: { ...f32(32), shape: [] },
    started: { dtype: "BOOL", shape: [1], data_offsets: [36, 37] },
  };
  const { weights, shapes } = parseCheckpoint("file", withHeader(header, 37));
  expect([...weights.keys()]).toEqual(["conv1.weight", "bn1.weight"]);
  expect([...shapes.keys()]).toEqual(["conv1.weight", "bn1.weight"]);

  const several = { ...header, "module.order": i64([2], 37) };
  several["module.order"].data_offsets[1] = 53;
  expect(() => parseCheckpoint("file", withHeader(several, 53))).toThrow(
    /file: tensor module\.order is I64.*expected floating-point/,
  );
});

test("weights of another model are refused, saying what differs", async () => {
  const read = parseCheckpoint("file", await whole());
  const wider = [layout("conv1.weight", [4, 1, 3, 3], "convolution")];
  expect(() => requireModelWeights("file", read, wider, "resnet8")).toThrow(
    /file: .*conv1\.weight is \[2,1,3,3\], not \[4,1,3,3\]/,
  );
  const more = [...layouts, layout("layer9.weight", [1], "bias")];
  expect(() => requireModelWeights("file", read, more, "resnet20")).toThrow(
    /no tensor layer9.*saved from resnet8; try model: "resnet8"/,
  );
  expect(() => requireModelWeights("file", read, parameters, "resnet8")).toThrow(/no tensor bn1/);
});

test("the previous one is kept, and read when the last is torn", async () => {
  const run = join(folder, "kept");
  mkdirSync(run);
  for (const step of [1, 2, 3]) await saveCheckpoint(run, [await whole(step)]);
  expect(readdirSync(run).sort()).toEqual([previousName, checkpointName]);
  expect((await readLast(run)).position.step).toBe(3);
  expect((await readCheckpoint(join(run, previousName))).position?.step).toBe(2);

  truncateSync(join(run, checkpointName), 200);
  const warnings: string[] = [];
  expect((await readLast(run, (text) => warnings.push(text))).position.step).toBe(2);
  expect(warnings.join()).toMatch(/checkpoint\.safetensors.*checkpoint\.previous/);
  expect(readFileSync(join(run, checkpointName)).length).toBe(200);

  truncateSync(join(run, previousName), 100);
  await expect(readLast(run)).rejects.toThrow(
    /neither checkpoint .*checkpoint\.safetensors: .*checkpoint\.previous\.safetensors: .*--recipe/,
  );
});

test("weights without a run cannot be resumed", async () => {
  const run = join(folder, "weights-only");
  mkdirSync(run);
  const tensors = layouts.map(({ name, shape }) => ({ name, shape, data: values(1).get(name)! }));
  writeFileSync(join(run, checkpointName), Buffer.concat(formatSafetensors(tensors, {})));
  await expect(readLast(run)).rejects.toThrow(/no run to continue.*init: /);
});

test("a file that has its second name already is left without a third", async () => {
  const run = join(folder, "twice");
  mkdirSync(run);
  await saveCheckpoint(run, [await whole(1)]);
  for (const name of [bestName, bestName, previousName]) await keepAs(run, checkpointName, name);
  await saveCheckpoint(run, [await whole(2)]); // as after a crash between its two renames
  expect(readdirSync(run).sort()).toEqual([bestName, previousName, checkpointName]);
  expect((await readCheckpoint(join(run, previousName))).position?.step).toBe(1);
  expect((await readCheckpoint(join(run, bestName))).position?.step).toBe(1);

  rmSync(join(run, checkpointName));
  await expect(keepAs(run, checkpointName, bestName)).rejects.toThrow(/ENOENT/);
  expect(readdirSync(run).sort()).toEqual([bestName, previousName]);
});

test("a torn checkpoint does not take the place of the whole one before", async () => {
  const run = join(folder, "torn-last");
  mkdirSync(run);
  for (const step of [1, 2]) await saveCheckpoint(run, [await whole(step)]);
  truncateSync(join(run, checkpointName), 200);
  expect((await readLast(run)).name).toBe(previousName);
  await saveCheckpoint(run, [await whole(3)], true);
  expect((await readCheckpoint(join(run, previousName))).position?.step).toBe(1);
  expect((await readLast(run)).position.step).toBe(3);
});
