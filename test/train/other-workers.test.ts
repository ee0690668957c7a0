// Continues runs with another number of workers: steps, schedule and statistics are those of one that was not
// interrupted, to rounding.
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { relativeError } from "../../proof/compare.js";
import { logOf, recipeOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { resumed, small, trained } from "../support/training.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  ...small,
  dataset: "synthetic:12x12x1:4:160", // 5 steps of 32 images an epoch
  batch: 8,
  epochs: 3,
  steps: 12,
  seed: 4,
};
const read = (out: string) => readCheckpoint(join(out, "checkpoint.safetensors"));

/** Trains a part of the run by each number of workers, up to the steps beside it. */
async function chain(
  name: string,
  recipe: RecipeInput,
  parts: [workers: number, steps: number][],
): Promise<string> {
  const out = join(folder, name);
  const [[workers, steps] = [1, 1], ...rest] = parts;
  await trained({ ...common, ...recipe, workers, accumulate: 4 / workers, steps, out });
  for (const [workers, steps] of rest) await resumed(out, { workers, steps });
  return out;
}

const testLosses = (out: string) =>
  logOf(out).flatMap((line) => (line.type === "epoch" ? [line.testLoss] : []));

/**
 * Another number of workers adds up the same gradients in another order: the difference is a rounding of single
 * precision (6e-8) that grows from step to step, to about 1e-7 here. A hundred times that leaves room for the orders of
 * other processors, and none for an image, a rate or a statistic that is not the same.
 */
const tolerance = 1e-5;

async function expectSame(whole: string, out: string): Promise<void> {
  const [one, two] = [stepsOf(whole), stepsOf(out)];
  expect(two.map(({ loss: _, ...step }) => step)).toEqual(one.map(({ loss: _, ...step }) => step));
  one.forEach(({ loss }, step) => {
    expect(Math.abs(two[step]!.loss - loss) / loss, `step ${step}`).toBeLessThan(tolerance);
  });
  const [a, b] = [testLosses(whole), testLosses(out)];
  expect(b.length).toBe(a.length);
  a.forEach((loss, epoch) => {
    expect(Math.abs(b[epoch]! - loss) / loss, `epoch ${epoch}`).toBeLessThan(tolerance);
  });
  const [first, second] = await Promise.all([read(whole), read(out)]);
  const statistics = [...first.weights.keys()].filter((name) => /running_(mean|var)/.test(name));
  expect(statistics.length).toBeGreaterThan(10);
  for (const name of statistics) {
    const error = relativeError(second.weights.get(name)!, first.weights.get(name)!);
    expect(error, name).toBeLessThan(tolerance);
  }
}

describe("statistics a micro-batch", () => {
  let whole: string;
  beforeAll(async () => {
    whole = await chain("whole", {}, [[1, 12]]);
  });

  test("k = 1, a = 4, then k = 2, a = 2, then k = 4, a = 1", async () => {
    const parts: [number, number][] = [
      [1, 3], // within the first epoch
      [2, 7], // within the second
      [4, 12],
    ];
    const out = await chain("up", {}, parts);
    await expectSame(whole, out);
    expect(recipeOf(out)).toMatchObject({ workers: 4, accumulate: 1, batch: 8 });
    expect((await read(out)).ranks?.length).toBe(4);
  });

  test("k = 4, then k = 2, then k = 1: the ranks' own statistics begin with their mean", async () => {
    const out = await chain("down", {}, [
      [4, 3],
      [2, 7],
      [1, 12],
    ]);
    await expectSame(whole, out);
    expect((await read(out)).ranks).toBeUndefined();
  });
});

test("groups of two ranks, k = 2 and then k = 4", async () => {
  const groups = { syncBatchNorm: 2 };
  const whole = await chain("whole-groups", groups, [[2, 12]]);
  const out = await chain("groups", groups, [
    [2, 3],
    [4, 12],
  ]);
  await expectSame(whole, out);
});

test("precise batch norm, k = 1 and then k = 2", async () => {
  const precise = { preciseBatchNorm: 4, steps: 10 };
  const whole = await chain("whole-precise", precise, [[1, 10]]);
  const out = await chain("precise", precise, [
    [1, 3],
    [2, 10],
  ]);
  await expectSame(whole, out);
  expect(recipeOf(out).preciseBatchNorm).toBe(2);
  // A number that the run chose by itself may be left to it again.
  await resumed(out, { preciseBatchNorm: -1 });
});

test("what cannot change is refused with both values, and nothing is written", async () => {
  const out = await chain("refused", { preciseBatchNorm: 2 }, [[2, 1]]);
  const before = recipeOf(out);
  for (const [changes, message] of [
    [{ workers: 3 }, /workers: 3 workers cannot share the 2 × 2 = 4 micro-batches/],
    [{ accumulate: 4 }, /accumulate is 2 in .*recipe\.json, and 4 was asked for.*workers, accum/],
    [
      { workers: 1, accumulate: 2 },
      /accumulate is 2 in .*recipe\.json, which is 4 with 1 worker, and 2 was asked for/,
    ],
    [
      { workers: 4, preciseBatchNorm: 2 },
      /preciseBatchNorm is 2 in .*, which is 1 with 4 workers, and 2 was asked for/,
    ],
    [{ workers: 4, batch: 4 }, /batch is 8 in .*recipe\.json, and 4 was asked for/],
  ] as [RecipeInput, RegExp][]) {
    await expect(resumed(out, changes)).rejects.toThrow(message);
    expect(recipeOf(out)).toEqual(before);
  }
  const { text } = await resumed(out, { workers: 4, accumulate: 1, minibatch: 32, steps: 2 });
  expect(text).toMatch(
    "workers × micro-batches were 2 × 2 so far, and are 4 × 1 now: the same steps, with losses equal to",
  );
  expect(recipeOf(out)).toMatchObject({ workers: 4, accumulate: 1, preciseBatchNorm: 1 });
});
