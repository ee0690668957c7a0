// Trains in fp16: steps that overflow are skipped, alike on every rank and after a resumption.
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { beforeAll, describe, expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { unsealed } from "../../lib/run-folder/header-checksum.js";
import {
  formatSafetensors,
  parseSafetensors,
  toFloat32,
} from "../../lib/run-folder/safetensors.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { adviceFor } from "../../lib/train/not-finite.js";
import { Trainer } from "../../lib/train/own-loop.js";
import { isBroken } from "../../lib/train/step-queue.js";
import { train } from "../../lib/train/train.js";
import { relativeError } from "../../proof/compare.js";
import { logOf, temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  dataset: "synthetic:12x12x1:4:224",
  model: "resnet8",
  batch: 8, // 7 steps an epoch
  workers: 2,
  accumulate: 2,
  epochs: 3,
  precision: "fp16",
  device: "cpu",
};
const velocity: RecipeInput = {
  ...{ momentumForm: "velocity", warmup: "none", lrSchedule: "cosine", preciseBatchNorm: 2 },
  ...{ emaDecay: 0.75, noiseScale: true },
};
const run = (recipe: RecipeInput, resume = false) => train(recipe, { output: null, resume });
const read = (out: string) => readCheckpoint(join(out, checkpointName));

/** Steps of the log with where loss scaling stood after each. */
const stepsOf = (out: string) =>
  logOf(out)
    .filter((line) => line.type === "step")
    .map(({ loss, lr, momentumFactor, lossScale, goodSteps, skipped }) => ({
      ...{ loss, lr, momentumFactor, lossScale, goodSteps, skipped },
    }));

/** Changes the scale that a run continues with. */
function setScale(out: string, lossScale: number): void {
  const file = join(out, checkpointName);
  const { tensors, metadata } = parseSafetensors(file, readFileSync(file));
  const all = [...tensors].map(([name, stored]) => ({
    ...{ name, shape: stored.shape, data: toFloat32(stored)! },
  }));
  const changed = { ...metadata, lossScale: String(lossScale), ...unsealed };
  writeFileSync(file, Buffer.concat(formatSafetensors(all, changed)));
}

describe("a scale at which gradients overflow", () => {
  const [before, whole] = [join(folder, "before"), join(folder, "whole")];
  const copyOf = (name: string) => {
    const out = join(folder, name);
    cpSync(before, out, { recursive: true });
    return out;
  };
  let text = "";
  beforeAll(async () => {
    await run({ ...common, ...velocity, steps: 3, out: before });
    expect((await read(before)).position?.scaling).toEqual({
      ...{ lossScale: 65536, goodSteps: 3, skipped: 0 },
    });
    setScale(before, 2 ** 32);
    cpSync(before, whole, { recursive: true });
    const output = new Writable({
      write(chunk, _, done) {
        text += chunk;
        done();
      },
    });
    await train({ out: whole, steps: 21 }, { output, resume: true });
  });

  test("is halved until they do not, and each such step counts as one of the schedule", async () => {
    const steps = stepsOf(whole).slice(3);
    expect(steps).toHaveLength(18);
    const last = steps.at(-1)!;
    expect(last.skipped).toBeGreaterThan(3);
    expect(last.goodSteps).toBeGreaterThan(3);
    steps.forEach(({ loss, lossScale, goodSteps, skipped }, i) => {
      const isSkipped = i < last.skipped!;
      expect(loss).toBeLessThan(10);
      expect(skipped).toBe(isSkipped ? i + 1 : last.skipped);
      expect(lossScale).toBe(2 ** 32 / 2 ** skipped!);
      expect(goodSteps).toBe(isSkipped ? 0 : i - last.skipped! + 1);
    });
    expect((await read(whole)).position?.scaling).toEqual({
      ...{ lossScale: last.lossScale, goodSteps: last.goodSteps, skipped: last.skipped },
    });
  });

  test("leaves parameters, averages and, but for the change of the rate, momentum as they are", async () => {
    const out = copyOf("skipped");
    await run({ out, steps: 5 }, true);
    const [from, to] = [await read(before), await read(out)];
    const factor = stepsOf(out)
      .slice(3)
      .reduce((product, step) => product * step.momentumFactor!, 1);
    expect(factor).toBeLessThan(1);
    for (const [name, momentum] of from.momentum!) {
      expect(to.weights.get(name)).toEqual(from.weights.get(name));
      const corrected = momentum.map((x) => x * factor);
      expect(relativeError(to.momentum!.get(name)!, corrected)).toBeLessThan(1e-6);
    }
    expect(to.ema!.updates).toBe(3);
    expect(to.position!.noise).toEqual(from.position!.noise);
  });

  test("is the same after a resumption, bit for bit, on two ranks", async () => {
    const out = copyOf("resumed");
    for (const steps of [5, 21]) await run({ out, steps }, true);
    expect(stepsOf(out)).toEqual(stepsOf(whole));
    const [a, b] = [await read(whole), await read(out)];
    expect(b.weights).toEqual(a.weights);
    expect(b.momentum).toEqual(a.momentum);
    expect(b.ema).toEqual(a.ema);
    expect(b.position?.noise).toEqual(a.position?.noise);
  });

  test("is shown to the user, with the steps that were skipped", () => {
    expect(text).toMatch(/epoch 1\/3: .*, 4 steps skipped so far\n/);
  });

  test("a checkpoint is evaluated in fp16", async () => {
    const { correct, loss } = await evaluateCheckpoint(whole, undefined, { device: "cpu" });
    const half = await evaluateCheckpoint(whole, undefined, { device: "cpu", precision: "fp16" });
    expect(Math.abs(half.correct - correct)).toBeLessThan(4);
    expect(Math.abs(half.loss / loss - 1)).toBeLessThan(1e-2);
    const last = logOf(whole).findLast((line) => line.type === "epoch") as { testLoss: number };
    expect(half.loss).toBeCloseTo(last.testLoss, 5); // summed by two workers there
  });
});

test("one worker with two micro-batches follows two workers, and none of their steps is skipped", async () => {
  const split = async (name: string, recipe: RecipeInput) => {
    const out = join(folder, name);
    await run({ ...common, steps: 7, ...recipe, out });
    return stepsOf(out);
  };
  const [one, two] = [
    await split("one", { workers: 1, accumulate: 2 }),
    await split("two", { workers: 2, accumulate: 1 }),
  ];
  one.forEach(({ loss, ...step }, i) => {
    expect(step).toMatchObject({ lossScale: 65536, goodSteps: i + 1, skipped: 0 });
    expect(two[i]).toMatchObject(step);
    expect(Math.abs(two[i]!.loss - loss) / loss).toBeLessThan(1e-3);
  });
});

describe("a script's own loop", () => {
  const recipe: RecipeInput = { ...common, workers: 1, accumulate: 2, clipNorm: 100 };

  test("has the gradients of the loss itself, and where loss scaling stands", async () => {
    using trainer = await Trainer.open(recipe);
    using exact = await Trainer.open({ ...recipe, precision: "fp32" });
    const { scaling } = await trainer.step();
    expect(scaling).toEqual({ lossScale: 65536, goodSteps: 1, skipped: 0 });
    expect((await exact.step()).scaling).toBeUndefined();
    const expected = await exact.gradients();
    for (const [name, gradient] of await trainer.gradients())
      expect(relativeError(gradient, expected.get(name)!), name).toBeLessThan(0.05);
    expect((await trainer.evaluate()).loss).toBeLessThan(10);
  });

  test("goes on from the scale that it saved", async () => {
    const out = join(folder, "loop");
    {
      using trainer = await Trainer.open({ ...recipe, out });
      await trainer.step();
      await trainer.save();
    }
    setScale(out, 2 ** 40);
    using trainer = await Trainer.open({ out }, { resume: true, output: null });
    const before = await trainer.weights();
    expect((await trainer.step()).scaling).toEqual({
      ...{ lossScale: 2 ** 39, goodSteps: 0, skipped: 1 },
    });
    const gradients = [...(await trainer.gradients()).values()];
    expect(gradients.some((values) => values.some((x) => !Number.isFinite(x)))).toBe(true);
    const name = "conv1.weight";
    expect((await trainer.weights()).get(name)).toEqual(before.get(name));
  });
});

test("a loss that is not finite ends the run", async () => {
  const recipe = { ...common, ...velocity, workers: 1, lr: 1e9, out: join(folder, "diverges") };
  await expect(run(recipe)).rejects.toThrow(
    /step \d+ is not finite: loss .*; first in the input of/,
  );
});

test("a gradient that is not finite without scaling ends the run", () => {
  const result = { step: 9, lr: 1, momentumFactor: 1, loss: 2, imagesPerSecond: 1 };
  const bad = Float32Array.of(0, 3);
  const scaling = { lossScale: 1, goodSteps: 0, skipped: 16 };
  expect(isBroken({ ...result, bad, scaling })).toBe(false);
  const half = { ...scaling, lossScale: 0.5 };
  expect(isBroken({ ...result, bad, scaling: half })).toBe(true);
  expect(isBroken({ ...result, bad: Float32Array.of(0, 0), scaling: half })).toBe(false);
  expect(isBroken({ ...result, bad })).toBe(true);
});

test("where gradients overflow at every scale another precision is advised, not a smaller rate", () => {
  const recipe = { lr: 8 };
  const fault = { step: 9, loss: 2, scaling: { lossScale: 0.5, goodSteps: 0, skipped: 17 } };
  expect(adviceFor(fault, recipe)).toMatch(/^Try .*precision: "?bf16/);
  expect(adviceFor({ ...fault, loss: Number.NaN }, recipe)).toMatch(/smaller rate/);
});
