// Shares a run's steps among another number of workers, and says what keeps a run from that.
import { afterEach, expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { setVoice } from "../../lib/recipe/voice.js";
import { possibleWorkers, withWorkers } from "../../lib/recipe/with-workers.js";

afterEach(() => setVoice("fields"));

test("workers × accumulate stays, and what has nothing to do with it", () => {
  const recipe = { dataset: "synthetic", workers: 2, accumulate: 4, batch: 8, lr: 0.2 };
  for (const [workers, accumulate] of [
    [1, 8],
    [2, 4],
    [4, 2],
    [8, 1],
  ] as const)
    expect(withWorkers(recipe, workers)).toEqual({ ...recipe, workers, accumulate });
  expect(withWorkers({ batch: 8, accumulate: 2 }, 2)).toEqual({
    batch: 8,
    workers: 2,
    accumulate: 1,
  });
  expect(possibleWorkers(recipe)).toEqual([1, 2, 4, 8]);
});

test("groups of synchronised batch norm keep their size", () => {
  const recipe = { workers: 4, accumulate: 3, syncBatchNorm: 2 };
  expect(withWorkers(recipe, 6)).toEqual({ workers: 6, accumulate: 2, syncBatchNorm: 2 });
  expect(possibleWorkers(recipe)).toEqual([2, 4, 6, 12]);
  expect(possibleWorkers({ ...recipe, syncBatchNorm: -1 })).toEqual([4]);
});

test("precise batch norm keeps its batches in all", () => {
  const recipe = { workers: 4, accumulate: 3, preciseBatchNorm: 50 };
  expect(withWorkers(recipe, 2)).toMatchObject({ workers: 2, preciseBatchNorm: 100 });
  expect(possibleWorkers(recipe)).toEqual([1, 2, 4]); // 200 batches are no multiple of 3
  expect(withWorkers({ ...recipe, preciseBatchNorm: -1 }, 2)).toMatchObject({
    preciseBatchNorm: -1, // to be counted yet
  });
});

test.each<[RecipeInput, number, RegExp]>([
  [
    { workers: 2, accumulate: 3 },
    4,
    /^--workers: 4 workers cannot share the 2 × 3 = 6 micro-batches of a step of this run; expected --workers 1 or --workers 2 or --workers 3 or --workers 6$/,
  ],
  [{ workers: 2 }, 3, /3 workers cannot share the 2 × 1 = 2 micro-batches/],
  [
    { workers: 2, accumulate: 2, syncBatchNorm: -1 },
    4,
    /^--sync-bn: this run's statistics are over all its 2 workers, and 4 were asked for; expected --workers 2$/,
  ],
  [
    { workers: 4, syncBatchNorm: 2 },
    1,
    /^--sync-bn: 1 worker cannot be divided into groups of 2, as the 4 of this run are; expected --workers 2 or --workers 4$/,
  ],
  [
    { workers: 4, accumulate: 3, preciseBatchNorm: 50 },
    3,
    /^--precise-bn: 3 workers cannot share the 4 × 50 = 200 batches of this run; expected --workers 1 or --workers 2 or --workers 4$/,
  ],
  [
    { workers: 2, accumulate: 2, shuffle: "worker" },
    4,
    /^--shuffle: each of the 2 workers of this run has an order of its own, and 4 were asked for; expected --workers 2$/,
  ],
])("%j cannot have %d workers", (recipe, workers, message) => {
  setVoice("flags");
  expect(() => withWorkers(recipe, workers)).toThrow(message);
});
