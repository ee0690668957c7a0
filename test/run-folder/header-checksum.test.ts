// Flips and edits bytes of a checkpoint's header: the checksum covers all of it.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  checkpointName,
  checksum,
  formatCheckpoint,
  parseCheckpoint,
} from "../../lib/run-folder/checkpoint.js";
import { seal, unsealed } from "../../lib/run-folder/header-checksum.js";
import { readLastCheckpoint } from "../../lib/run-folder/last-checkpoint.js";
import { requireOnCourse } from "../../lib/run-folder/position.js";
import { formatSafetensors, parseSafetensors } from "../../lib/run-folder/safetensors.js";
import { temporaryFolder } from "../support/folder.js";
import { headOf, layout, position } from "./layout.js";

const folder = temporaryFolder();
const parameters = [layout("fc.bias", [3], "bias")];
const statistics = [layout("bn1.running_mean", [2], "running-mean")];
const state = {
  weights: new Map([
    ["fc.bias", Float32Array.of(1, 2, 3)],
    ["bn1.running_mean", Float32Array.of(0.5, -0.5)],
  ]),
  momentum: new Map([["fc.bias", Float32Array.of(4, 5, 6)]]),
};
const origin = {
  id: "1f2e",
  data: "0123abcd",
  imageSize: 64,
  recipe: { model: "resnet8", lr: 0.1 },
};
const whole = Buffer.concat(
  await formatCheckpoint([...parameters, ...statistics], state, position, "resnet8", origin),
);
const headBytes = 8 + Number(whole.readBigUInt64LE(0));

test("a bit flipped anywhere in the header is noticed", () => {
  const flipped = Buffer.from(whole);
  for (let at = 0; at < headBytes; at++) {
    for (let bit = 0; bit < 8; bit++) {
      flipped[at]! ^= 1 << bit;
      expect(() => parseCheckpoint("file", flipped), `bit ${bit} of byte ${at}`).toThrow(/^file: /);
      flipped[at]! ^= 1 << bit;
    }
  }
  expect(flipped).toEqual(whole);
});

test("a byte of the header replaced by any other is noticed", () => {
  const others = [0x00, 0x09, 0x0a, 0x20, 0x22, 0x30, 0x39, 0x41, 0x5c, 0x61, 0x7d, 0xff];
  const replaced = Buffer.from(whole);
  for (let at = 0; at < headBytes; at++) {
    for (const other of others) {
      if (other === whole[at]) continue;
      replaced[at] = other;
      expect(() => parseCheckpoint("file", replaced), `${other} at ${at}`).toThrow(/^file: /);
    }
    replaced[at] = whole[at]!;
  }
});

/** The checkpoint with other metadata; null leaves one out. Its header has the right checksum. */
function edited(changes: Record<string, string | null>, sealed = true): Buffer {
  const { tensors, metadata } = parseSafetensors("file", whole);
  const list = [...tensors].map(([name, { shape, bytes }]) => ({
    name,
    shape,
    data: new Float32Array(Uint8Array.from(bytes).buffer),
  }));
  const kept = Object.entries({ ...metadata, ...unsealed, ...changes }).filter(
    ([key, value]) => value !== null && (sealed || !(key in unsealed)),
  );
  // Not assigned but defined, as JSON.parse does it: __proto__ is a name like any other.
  return Buffer.concat(formatSafetensors(list, Object.fromEntries(kept) as Record<string, string>));
}

const resume = async (bytes: Buffer) => {
  const run = join(folder, "edited");
  mkdirSync(run, { recursive: true });
  writeFileSync(join(run, checkpointName), bytes);
  return await readLastCheckpoint(run, { parameters, statistics }, "resnet8", () => {});
};

test("a header edited without a change of meaning is read if its checksum is right", async () => {
  for (const changes of [
    {},
    { note: "one more" },
    JSON.parse('{"__proto__":"x","toString":"y"}'),
  ]) {
    expect(await resume(edited(changes))).toMatchObject({ position, model: "resnet8" });
  }
});

test.each<[string, Record<string, string | null>]>([
  ["no checksums", { checksums: null }],
  ["checksums of some tensors only", { checksums: '{"fc.bias":"00000000"}' }],
  ["checksums that are none", { checksums: "5" }],
  ["checksums that are null", { checksums: "null" }],
  ["checksums that are a list", { checksums: "[]" }],
  ["checksums that are not text", { checksums: '{"fc.bias":5,"bn1.running_mean":5}' }],
  ["checksums of inherited names", { checksums: '{"__proto__":{"fc.bias":"00000000"}}' }],
  ["no recipe", { recipe: null }],
  ["no data", { data: null }],
  ["no model", { model: null }],
  ["another model", { model: "resnet20" }],
  ["a model of an inherited name", { model: "toString" }],
  ["a recipe that is null", { recipe: "null" }],
  ["a recipe that is a number", { recipe: "5" }],
  ["an image size of nothing", { imageSize: "0" }],
  ["an image size with a sign", { imageSize: "-64" }],
  ...["-4", "1.5", "NaN", "Infinity", "", " 12", "0x0c", "1e3", "9007199254740993"].flatMap(
    (text): [string, Record<string, string>][] =>
      ["step", "epoch", "seed"].map((key) => [`${key} ${JSON.stringify(text)}`, { [key]: text }]),
  ),
  ...["-4", "NaN", "Infinity", "-Infinity", "", "1e999", "0x10", "null"].flatMap(
    (text): [string, Record<string, string>][] =>
      ["lossSum", "seconds", "epochSeconds", "lastLearningRate"].map((key) => [
        `${key} ${JSON.stringify(text)}`,
        { [key]: text },
      ]),
  ),
  ...["-4", "0", "3", "1e400", String(2 ** 128), String(2 ** -127), "NaN"].map(
    (lossScale): [string, Record<string, string>] => [
      `lossScale ${lossScale}`,
      { lossScale, goodSteps: "0", skipped: "0" },
    ],
  ),
  ...["step", "epoch", "seed", "lossSum", "seconds", "epochSeconds", "lastLearningRate"].map(
    (key): [string, Record<string, null>] => [`no ${key}`, { [key]: null }],
  ),
])("no run continues from a header with the right checksum and %s", async (_, changes) => {
  await expect(resume(edited(changes))).rejects.toMatchObject({ code: "ERR_ONEHOUR_CHECKPOINT" });
});

test.each(["momentum.fc.bias", "rank.0.bn1.running_mean"])(
  "no run continues from %s that is not finite",
  async (name) => {
    const layouts = [...parameters, ...statistics];
    const ranks = [new Map([["bn1.running_mean", Float32Array.of(1, 2)]])];
    const sound = await formatCheckpoint(layouts, { ...state, ranks }, position, "resnet8", origin);
    const { tensors, metadata } = parseSafetensors("file", Buffer.concat(sound));
    const list = [...tensors].map(([each, { shape, bytes }]) => {
      const data = new Float32Array(Uint8Array.from(bytes).buffer);
      if (each === name) data[1] = Number.NaN;
      return { name: each, shape, data };
    });
    const checksums = JSON.stringify(
      Object.fromEntries(list.map(({ name: each, data }) => [each, checksum(data)])),
    );
    const bytes = Buffer.concat(formatSafetensors(list, { ...metadata, checksums, ...unsealed }));
    await expect(resume(bytes)).rejects.toThrow(`tensor ${name} holds NaN (element 1)`);
  },
);

test("metadata that is not text is refused by name", () => {
  const header = JSON.parse(whole.toString("utf8", 8, headBytes));
  for (const value of [{ toString: 1 }, 5, null, ["x"]]) {
    header.__metadata__.note = value;
    const head = headOf(header);
    seal(head);
    const bytes = Buffer.concat([head, whole.subarray(headBytes)]);
    expect(() => parseCheckpoint("file", bytes)).toThrow(/^file: "note" in it is not text/);
  }
});

test("without a header checksum the weights may be used, but no run resumed", async () => {
  const old = edited({ producer: "onehour 1" }, false);
  expect(parseCheckpoint("file", old).weights).toEqual(state.weights);
  await expect(resume(old)).rejects.toThrow(/no checksums cover all .*init: /);
  const cut = edited({}, false); // this version writes one
  expect(() => parseCheckpoint("file", cut)).toThrow(/^file: its header lacks its checksum/);
});

test.each<[string, Partial<typeof position>, RegExp]>([
  ["a step beyond the schedule", { step: 41, epoch: 10 }, /step is 41, .* has 40 steps in all/],
  ["another epoch", { epoch: 2 }, /epoch is 2, but after 12 steps this run's is 3/],
  ["another seed", { seed: 8 }, /seed is 8, but after 12 steps this run's is 9/],
  ["another rate", { lastLearningRate: 0.5 }, /rate is 0\.5, but after 12 steps .* is 0\.11/],
])("a position that no run of the recipe has is refused: %s", (_, change, message) => {
  const course = { stepsPerEpoch: 3, steps: 40, schedule: (step: number) => step / 100, seed: 9 };
  const at = { ...position, lastLearningRate: 0.11 };
  requireOnCourse("file", at, course);
  requireOnCourse("file", { ...at, step: 0, epoch: 0, lastLearningRate: undefined }, course);
  expect(() => requireOnCourse("file", { ...at, ...change }, course)).toThrow(message);
});
