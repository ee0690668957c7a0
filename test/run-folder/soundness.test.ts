// Refuses weights that are not finite or overflow, and reports where such numbers arise in a run.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { alone } from "../../lib/ranks/world.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import {
  checkpointName,
  formatCheckpoint,
  readCheckpoint,
} from "../../lib/run-folder/checkpoint.js";
import { formatSafetensors } from "../../lib/run-folder/safetensors.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { explainTestLoss } from "../../lib/train/test-loss.js";
import { onehour } from "../cli/command.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { small, trained } from "../support/training.js";
import { layout } from "./layout.js";

const folder = temporaryFolder();
const dataset = "synthetic:12x12x1:4:224";
const common: RecipeInput = { ...small, dataset, batch: 16 };
const sound = join(folder, "sound");

beforeAll(async () => {
  await trained({ ...common, steps: 1, out: sound });
});

/** The weights of a run as a file from elsewhere, with one value of a tensor replaced. */
async function spoilt(file: string, name: string, value: number): Promise<string> {
  const { weights, shapes } = await readCheckpoint(join(sound, checkpointName));
  const changed = new Map(weights).set(name, weights.get(name)!.slice());
  changed.get(name)![1] = value;
  const path = join(folder, file);
  const tensors = [...changed].map(([name, data]) => ({ name, shape: shapes.get(name)!, data }));
  writeFileSync(path, Buffer.concat(formatSafetensors(tensors, {})));
  return path;
}

const cases: [string, string, number, RegExp][] = [
  [
    "a NaN weight",
    "fc.weight",
    Number.NaN,
    /tensor fc\.weight holds NaN \(element 1\), and it must/,
  ],
  ["an infinite γ", "bn1.weight", Number.POSITIVE_INFINITY, /bn1\.weight holds Infinity/],
  ["a NaN variance", "bn1.running_var", Number.NaN, /bn1\.running_var holds NaN/],
  ["a negative variance", "bn1.running_var", -0.5, /bn1\.running_var holds -0\.5 .*0 or more/],
  ["an infinite mean", "bn1.running_mean", -Infinity, /bn1\.running_mean holds -Infinity/],
];

test.each(cases)("%s is refused by --init and evaluate", async (_, name, value, message) => {
  const file = await spoilt("spoilt.safetensors", name, value);
  const out = join(folder, "from-spoilt");
  const begun = trained({ ...common, steps: 1, init: file, out });
  await expect(begun).rejects.toThrow(message);
  await expect(begun).rejects.toThrow(/name a file from before that$/); // no word of a rate
  await expect(begun).rejects.toMatchObject({ code: "ERR_ONEHOUR_CHECKPOINT" });
  expect(existsSync(out)).toBe(false);
  const evaluated = evaluateCheckpoint(file, dataset, { device: "cpu", threads: 1 });
  await expect(evaluated).rejects.toThrow(message);
});

test("the command refuses them too", async () => {
  const file = await spoilt("line.safetensors", "bn1.running_var", -1);
  const evaluated = await onehour(["evaluate", file, dataset]);
  expect(evaluated.stderr).toMatch(
    /^onehour: .*line\.safetensors: tensor bn1\.running_var holds -1/,
  );
  expect(evaluated).toMatchObject({ status: 1, stdout: "" });
  const out = join(folder, "line");
  const args = ["train", dataset, "--init", file, "--steps", "1", "--threads", "1", "--out", out];
  const begun = await onehour(args);
  expect(begun.stderr).toMatch(/^onehour: .*line\.safetensors: tensor bn1\.running_var holds -1/);
  expect(begun.status).toBe(1);
  expect(existsSync(out)).toBe(false);
});

test("evaluate says where outputs of finite weights are not finite", async () => {
  const file = await spoilt("large.safetensors", "conv1.weight", 3e38);
  const evaluated = await onehour(["evaluate", file, dataset]);
  expect(evaluated.stderr).toMatch(
    /^warning: the test loss is NaN, although all weights of .*large/,
  );
  expect(evaluated.status).toBe(0);
  expect((await onehour(["evaluate", sound, dataset])).stderr).toBe("");
});

test("such a checkpoint is neither written nor continued from", async () => {
  const layouts = [
    layout("fc.bias", [2], "bias"),
    layout("bn1.running_var", [1], "running-variance"),
  ];
  const position = {
    ...{ step: 0, epoch: 0, lastLearningRate: undefined, seed: 0 },
    ...{ lossSum: 0, epochSeconds: 0, seconds: 0 },
  };
  const write = (bias: number, momentum: number, variance: number) =>
    formatCheckpoint(
      layouts,
      {
        weights: new Map([
          ["fc.bias", Float32Array.of(0, bias)],
          ["bn1.running_var", Float32Array.of(1)],
        ]),
        momentum: new Map([["fc.bias", Float32Array.of(0, momentum)]]),
        ranks: [new Map([["bn1.running_var", Float32Array.of(variance)]])],
      },
      position,
      "resnet8",
    );
  await write(1, 1, 1);
  await expect(write(Number.NaN, 1, 1)).rejects.toThrow(/tensor fc\.bias holds NaN/);
  await expect(write(1, Infinity, 1)).rejects.toThrow(/tensor momentum\.fc\.bias holds Infinity/);
  await expect(write(1, 1, -1)).rejects.toThrow(/tensor rank\.0\.bn1\.running_var holds -1/);
});

test("a test loss that is not finite is reported, and that epoch is not the best", async () => {
  // The statistics that evaluation takes are far beyond what the network computes.
  const init = await spoilt("far.safetensors", "bn1.running_mean", -3e38);
  const out = join(folder, "far");
  const { result, text } = await trained({ ...common, steps: 1, init, out });
  expect(result.status).toBe("finished");
  expect(text).toMatch(
    /warning: the test loss after 1 step is (NaN|-?Infinity), although all weights are finite/,
  );
  const epochs = logOf(out).filter((line) => line.type === "epoch");
  expect(epochs.map(({ testLoss }) => testLoss)).toEqual([null]);
  expect(existsSync(join(out, "best.safetensors"))).toBe(false);
});

test("a test loss of weights that are not finite ends the run, naming the layer", async () => {
  const bad = layout("conv1.weight", [2], "convolution");
  const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
  const executor = {
    memory: { arenas: { param: 8, state: 8 } },
    read: async (arena: string) => (arena === "param" ? floats(1, Number.NaN) : floats(0, 0)),
  };
  const compiled = { parameters: [bad], statistics: [], momentum: { bytes: 8 } };
  const run = { queue: { executor }, compiled, world: alone } as never;
  const failing = explainTestLoss(Number.NaN, 5, run);
  await expect(failing).rejects.toThrow(
    /^the test loss after 5 steps is NaN: not finite first in the gradient of conv1\.weight/,
  );
  await expect(failing).rejects.toMatchObject({ code: "ERR_ONEHOUR_NOT_FINITE" });
});

test("weights that overflow in the first step are not blamed on the rate", async () => {
  const file = await spoilt("huge.safetensors", "fc.weight", 3e38);
  const { weights, shapes } = await readCheckpoint(file);
  for (const values of [weights.get("fc.weight")!, weights.get("bn1.weight")!]) values.fill(3e38);
  const tensors = [...weights].map(([name, data]) => ({ name, shape: shapes.get(name)!, data }));
  writeFileSync(file, Buffer.concat(formatSafetensors(tensors, {})));
  const out = join(folder, "huge");
  const failing = trained({ ...common, steps: 2, init: file, out });
  await expect(failing).rejects.toThrow(
    /step 0 is not finite.*No update came before it, so look at the weights of .*huge\.safetensors/,
  );
  expect(readFileSync(join(out, "log.jsonl"), "utf8")).toMatch(/"status":"failed"/);
});

/** A network whose last features of 32 × 32 pixels are of one pixel. */
const deep = { model: "resnet18" };

test.each([
  [
    "one image at features of one pixel",
    { batch: 1 },
    /layer4\.0\.\w+(\.\d)? has one value a channel/,
  ],
  ["also in micro-batches", { batch: 1, accumulate: 4 }, /has one value a channel in training/],
])("%s is refused by the layer's name", async (_, recipe, message) => {
  const tiny = { ...common, ...deep, dataset: "synthetic:32x32x1:4:64", steps: 1 };
  const out = join(folder, "one-value");
  const failing = trained({ ...tiny, ...recipe, out });
  await expect(failing).rejects.toThrow(message);
  await expect(failing).rejects.toThrow(/take larger batches or images/);
  expect(existsSync(out)).toBe(false);
});

test("two values suffice, and evaluation takes a last batch of one", async () => {
  const out = join(folder, "two-values");
  const tiny = { ...common, ...deep, dataset: "synthetic:32x32x1:4:144" }; // and 9 test images
  const {
    result: { testImages },
  } = await trained({ ...tiny, batch: 2, steps: 1, out });
  expect(testImages).toBe(9);
  const checkpoint = join(out, checkpointName);
  const options = { device: "cpu", threads: 1, batch: 1 } as const;
  expect((await evaluateCheckpoint(checkpoint, tiny.dataset, options)).images).toBe(9);
});
