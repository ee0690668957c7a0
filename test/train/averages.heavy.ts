// What a run of several workers averages over its steps: the moving average of the weights, and the gradient noise
// scale.
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { addNoise } from "../../lib/train/noise-scale.js";
import { Trainer } from "../../lib/train/own-loop.js";
import { logOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { resumed, small, trained } from "../support/training.js";

const folder = temporaryFolder();
const common = { ...small, dataset: "synthetic:12x12x1:4:32", batch: 8, lr: 0.4 } as const;
const averageIn = async (out: string) => (await readCheckpoint(join(out, checkpointName))).ema!;
const scalesOf = (out: string) =>
  logOf(out).flatMap((line) => (line.type === "step" ? [line.noiseScale] : []));

test("a moving average is resumed within an epoch bit for bit, with each worker's own statistics in it", async () => {
  const two = { ...common, emaDecay: 0.75, workers: 2, batch: 4, epochs: 2 };
  const [whole, out] = [join(folder, "whole"), join(folder, "half")];
  const { result, events } = await trained({ ...two, out: whole });
  await trained({ ...two, steps: 3, out });
  const { ranks } = await readCheckpoint(join(out, checkpointName));
  const means = ranks!.map((own) => own.get("ema.bn1.running_mean")!);
  expect(means[0]).not.toEqual(means[1]);
  await resumed(out, { steps: 8 });
  expect(await averageIn(out)).toEqual(await averageIn(whole));
  const losses = (run: string) =>
    logOf(run).flatMap((line) => (line.type === "epoch" ? [line] : []));
  const tested = (run: string) =>
    losses(run).map(({ emaTop1, emaTestLoss }) => [emaTop1, emaTestLoss]);
  expect(tested(out)).toEqual(tested(whole));

  const last = losses(whole).at(-1)!;
  expect(result.emaTop1).toBe(last.emaTop1);
  expect(events.find(({ type }) => type === "epoch")).toHaveProperty("emaTop1");
  const evaluated = await evaluateCheckpoint(whole, undefined, {
    ...small,
    model: "resnet8",
    ema: true,
  });
  expect(evaluated.top1).toBe(last.emaTop1);
  expect(evaluated.loss).toBeCloseTo(last.emaTestLoss!, 5);
  expect(evaluated.loss).not.toBe(last.testLoss);
});

test("two workers' noise scale is that of their gradients", async () => {
  const recipe = { ...common, batch: 4, noiseScale: true };
  const out = join(folder, "two");
  await trained({ ...recipe, workers: 2, steps: 1, out });
  // One worker takes in two steps what two take in one; a rate of 0 leaves the weights as they are.
  const gradientsOf = async (steps: number, own: RecipeInput) => {
    using trainer = await Trainer.open({ ...common, ...own });
    const squares: number[] = [];
    for (let step = 0; step < steps; step++) {
      await trainer.step({ lr: 0 });
      const all = [...(await trainer.gradients()).values()].flatMap((values) => [...values]);
      squares.push(all.reduce((sum, g) => sum + g * g, 0));
    }
    return squares;
  };
  const [first, second] = (await gradientsOf(2, { batch: 4 })) as [number, number];
  const [large] = (await gradientsOf(1, { batch: 4, accumulate: 2 })) as [number];
  const sizes = { workers: 2, accumulate: 1, batch: 4 };
  const expected = addNoise(undefined, { small: (first + second) / 2, large }, sizes)!;
  const { noise } = (await readCheckpoint(join(out, checkpointName))).position!;
  expect(noise!.noiseSum / expected.noiseSum).toBeCloseTo(1, 4);
  expect(noise!.signalSum / expected.signalSum).toBeCloseTo(1, 4);
});

test.each([
  { workers: 1, accumulate: 2, batch: 4 },
  { workers: 2, accumulate: 1, batch: 4 },
])("the noise scale of $workers × $accumulate × $batch changes no bit of a run", async (sizes) => {
  const recipe = { ...common, lr: 0.1, epochs: 2, ...sizes };
  const of = async (noiseScale: boolean) => {
    const out = join(folder, `bits-${sizes.workers}-${noiseScale}`);
    await trained({ ...recipe, noiseScale, out });
    const losses = stepsOf(out).map(({ loss }) => loss);
    return { losses, weights: (await readCheckpoint(join(out, checkpointName))).weights };
  };
  const [without, with_] = [await of(false), await of(true)];
  expect(without.losses).toHaveLength(8);
  expect(with_).toEqual(without);
});

test("a noise scale is resumed as it was, and by fewer workers too", async () => {
  const two = { ...common, lr: 0.1, noiseScale: true, workers: 2, batch: 4, epochs: 2 };
  const [whole, out, alone] = [join(folder, "all"), join(folder, "cut"), join(folder, "alone")];
  await trained({ ...two, steps: 4, out: whole });
  await trained({ ...two, steps: 2, out });
  await trained({ ...two, steps: 2, out: alone });
  await resumed(out, { steps: 4 });
  expect(scalesOf(out)).toEqual(scalesOf(whole));

  const sumsOf = async (run: string) =>
    (await readCheckpoint(join(run, checkpointName))).position!.noise!;
  const before = await sumsOf(alone);
  await resumed(alone, { workers: 1, steps: 4 }); // of two micro-batches
  const after = await sumsOf(alone);
  expect(after).not.toEqual(before);
  expect(Number.isFinite(after.noiseSum + after.signalSum)).toBe(true);
  expect(scalesOf(alone).slice(0, 2)).toEqual(scalesOf(whole).slice(0, 2));
});
