// Trains with LARS and clipped gradients: equal on every rank, resumed bit for bit, and evaluated.
import { cpSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { train } from "../../lib/train/train.js";
import { logOf, stepsOf, temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  dataset: "synthetic:12x12x1:4:224",
  model: "resnet8",
  batch: 8, // 7 steps an epoch
  workers: 2,
  accumulate: 2,
  epochs: 2,
  optimizer: "lars",
  clipNorm: 0.5,
  lr: 8,
  device: "cpu",
};
const run = (recipe: RecipeInput, resume = false) => train(recipe, { output: null, resume });
const whole = join(folder, "whole");
const half = join(folder, "half");
beforeAll(async () => {
  await run({ ...common, out: whole });
  await run({ ...common, steps: 4, out: half });
});

const read = (out: string) => readCheckpoint(join(out, "checkpoint.safetensors"));

async function expectSame(first: string, second: string): Promise<void> {
  const [a, b] = [await read(first), await read(second)];
  expect(b.weights).toEqual(a.weights);
  expect(b.momentum).toEqual(a.momentum);
  const losses = (out: string) => stepsOf(out).map(({ loss }) => loss);
  expect(losses(second)).toEqual(losses(first));
}

test("has the plain momentum of its rule, without a correction for the rate", () => {
  const steps = logOf(whole).filter((line) => line.type === "step");
  expect(steps).toHaveLength(14);
  expect(new Set(steps.map(({ lr }) => lr)).size).toBeGreaterThan(2);
  for (const { momentumFactor } of steps) expect(momentumFactor).toBe(1);
});

test("is resumed bit for bit, on two ranks with two micro-batches each", async () => {
  const out = join(folder, "resumed");
  cpSync(half, out, { recursive: true });
  await run({ out, steps: 14 }, true);
  await expectSame(whole, out);
});

test("may not change its optimiser or limit on resume", async () => {
  for (const change of [{ optimizer: "sgd" }, { clipNorm: 1 }] as RecipeInput[])
    await expect(run({ out: half, ...change }, true)).rejects.toThrow(
      /was asked for; a resumed run may change/,
    );
});

test("is evaluated as in the run", async () => {
  const result = await evaluateCheckpoint(whole, undefined, { device: "cpu" });
  const last = logOf(whole).findLast((line) => line.type === "epoch")!;
  expect(result.top1).toBe((last as { top1: number }).top1);
});
