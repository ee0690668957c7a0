// Trains with LARS and clipped gradients. That it resumes bit for bit, autosave.test.ts checks.
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { resumed, trained } from "../support/training.js";

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
const whole = join(folder, "whole");
beforeAll(async () => {
  await trained({ ...common, out: whole });
});

test("has the plain momentum of its rule, without a correction for the rate", () => {
  const steps = logOf(whole).filter((line) => line.type === "step");
  expect(steps).toHaveLength(14);
  expect(new Set(steps.map(({ lr }) => lr)).size).toBeGreaterThan(2);
  for (const { momentumFactor } of steps) expect(momentumFactor).toBe(1);
});

test("may not change its optimiser or limit on resume", async () => {
  for (const change of [{ optimizer: "sgd" }, { clipNorm: 1 }] as RecipeInput[])
    await expect(resumed(whole, change)).rejects.toThrow(/was asked for; a resumed run may change/);
});

test("is evaluated as in the run", async () => {
  const result = await evaluateCheckpoint(whole, undefined, { device: "cpu" });
  const last = logOf(whole).findLast((line) => line.type === "epoch")!;
  expect(result.top1).toBe((last as { top1: number }).top1);
});
