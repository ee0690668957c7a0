// The gradient noise scale: its estimate from made gradients of known noise, and from a run's own.
import { join } from "node:path";
import { expect, test } from "vitest";
import { Purpose, Random } from "../../lib/data/random.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import type { NoiseSums } from "../../lib/run-folder/position.js";
import { addNoise, noiseLine, noiseScaleOf } from "../../lib/train/noise-scale.js";
import { Trainer } from "../../lib/train/own-loop.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { small, trained } from "../support/training.js";

const dimensions = 40;
/** The gradient G of all images, |G|² = 0.4, and the deviation of one image's in each dimension: S = 40·5² = 1,000. */
const signal = Array.from({ length: dimensions }, () => 0.1);
const deviation = 5;

/** The mean gradient of a batch of so many images. */
function meanOf(images: number, random: Random): number[] {
  return signal.map((g) => g + (random.normals()[0]! * deviation) / Math.sqrt(images));
}

const square = (g: readonly number[]) => g.reduce((sum, x) => sum + x * x, 0);
const mean = (all: readonly number[][]) =>
  signal.map((_, i) => all.reduce((sum, one) => sum + one[i]!, 0) / all.length);

test.each([
  { workers: 4, accumulate: 2, batch: 32 },
  { workers: 1, accumulate: 8, batch: 32 },
  { workers: 2, accumulate: 1, batch: 256 },
])("made gradients of known noise: $workers × $accumulate × $batch", (sizes) => {
  const { workers, accumulate, batch } = sizes;
  const random = new Random(3, Purpose.synthetic);
  const parts = workers > 1 ? workers : accumulate;
  const images = workers > 1 ? accumulate * batch : batch;
  let sums: NoiseSums | undefined;
  const scales: number[] = [];
  for (let step = 0; step < 1500; step++) {
    const gradients = Array.from({ length: parts }, () => meanOf(images, random));
    const small =
      workers > 1
        ? gradients.reduce((sum, g) => sum + square(g), 0) / workers
        : square(gradients[0]!);
    sums = addNoise(sums, { small, large: square(mean(gradients)) }, sizes)!;
    if (step >= 500) scales.push(sums.noiseSum / sums.signalSum);
  }
  const average = scales.reduce((sum, scale) => sum + scale, 0) / scales.length;
  expect(average).toBeGreaterThan(2000);
  expect(average).toBeLessThan(3100); // 1,000 / 0.4 = 2,500
});

test("a step that is not finite does not count, and noise that hides the gradient has no scale", () => {
  const sizes = { workers: 2, accumulate: 1, batch: 16 };
  const sums = addNoise(undefined, { small: 3, large: 2 }, sizes)!;
  expect(sums).toEqual({ noiseSum: 32, signalSum: 1 });
  expect(noiseScaleOf(sums)).toBe(32);
  for (const small of [Number.NaN, Number.POSITIVE_INFINITY])
    expect(addNoise(sums, { small, large: 2 }, sizes)).toBe(sums);
  const hidden = addNoise(undefined, { small: 5, large: 2 }, sizes)!;
  expect(noiseScaleOf(hidden)).toBeUndefined();
  expect(noiseLine(hidden)).toMatch("the noise hides the gradient; train longer");
  const alike = addNoise(undefined, { small: 2, large: 2 }, sizes)!;
  expect(noiseLine(alike)).toMatch("they show no noise");
  expect(noiseLine({ noiseSum: 1949, signalSum: 2 })).toMatch("critical minibatch about 970 ");
});

const folder = temporaryFolder();
const run = { ...small, dataset: "synthetic:12x12x1:4:32", lr: 0.1, noiseScale: true } as const;
const scalesOf = (out: string) =>
  logOf(out).flatMap((line) => (line.type === "step" ? [line.noiseScale] : []));

test("a run's own is that of its gradients", async () => {
  const sizes = { workers: 1, accumulate: 4, batch: 4 };
  const out = join(folder, "one");
  const { text } = await trained({ ...run, ...sizes, steps: 1, out });
  expect(text).toMatch(/^critical minibatch /m);

  // The first micro-batch's gradient is that of a step of it alone; batch norm is per micro-batch.
  const gradient = async (recipe: RecipeInput) => {
    using trainer = await Trainer.open({ ...run, noiseScale: false, ...recipe });
    await trainer.step();
    const all = [...(await trainer.gradients()).values()].flatMap((values) => [...values]);
    return square(all);
  };
  const large = await gradient(sizes);
  const small4 = await gradient({ batch: 4 });
  const sums = addNoise(undefined, { small: small4, large }, sizes)!;
  const { position } = await readCheckpoint(join(out, checkpointName));
  const { noiseSum, signalSum } = position!.noise!;
  expect(noiseSum / sums.noiseSum).toBeCloseTo(1, 4);
  expect(signalSum / sums.signalSum).toBeCloseTo(1, 4);
  expect(scalesOf(out)).toEqual([noiseScaleOf({ noiseSum, signalSum })]);
});

test("one worker of one micro-batch has none", async () => {
  await expect(trained({ ...run, batch: 4, steps: 1, out: join(folder, "none") })).rejects.toThrow(
    /noiseScale: a step of one worker and one micro-batch has no smaller batch/,
  );
});
