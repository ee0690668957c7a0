// A minibatch gives the same training however it is split into workers and micro-batches.
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { relativeError } from "../../proof/compare.js";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { small, trained } from "../support/training.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  ...small,
  dataset: "synthetic:12x12x1:4:384",
  epochs: 1,
  steps: 10,
  milestones: [],
  seed: 4,
};

async function run(name: string, recipe: RecipeInput): Promise<string> {
  const out = join(folder, name);
  await trained({ ...common, ...recipe, out });
  return out;
}

async function expectSame(first: string, second: string): Promise<void> {
  const [one, two] = [stepsOf(first), stepsOf(second)];
  expect(one.length).toBe(10);
  one.forEach(({ loss, lr }, step) => {
    expect(two[step]?.lr).toBe(lr);
    expect(Math.abs(two[step]!.loss - loss) / loss).toBeLessThan(1e-4);
  });
  const [a, b] = await Promise.all(
    [first, second].map((out) => readCheckpoint(join(out, "checkpoint.safetensors"))),
  );
  const statistics = [...a!.weights.keys()].filter((name) => /running_(mean|var)/.test(name));
  expect(statistics.length).toBeGreaterThan(10);
  for (const name of statistics) {
    const error = relativeError(b!.weights.get(name)!, a!.weights.get(name)!);
    expect(error, name).toBeLessThan(1e-3);
  }
}

test("k = 2, n = 16 with sync BN follows k = 1, n = 32", async () => {
  await expectSame(
    await run("one", { workers: 1, batch: 32 }),
    await run("synchronised", { workers: 2, batch: 16, syncBatchNorm: -1 }),
  );
});

test("k = 2, a = 1 follows k = 1, a = 2", async () => {
  await expectSame(
    await run("k1a2", { workers: 1, accumulate: 2, batch: 16 }),
    await run("k2a1", { workers: 2, accumulate: 1, batch: 16 }),
  );
});

test("k = 2, a = 2 follows k = 1, a = 4", async () => {
  await expectSame(
    await run("k1a4", { workers: 1, accumulate: 4, batch: 8 }),
    await run("k2a2", { workers: 2, accumulate: 2, batch: 8 }),
  );
});
