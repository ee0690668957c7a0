// A run of twenty steps and one that ended after ten, for tests that go on from there.
import { cpSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { logOf, temporaryFolder } from "./folder.js";
import { lasting } from "./lasting.js";
import { small, trained } from "./training.js";

export const common: RecipeInput = {
  ...small,
  dataset: "synthetic:12x12x1:4:224",
  batch: 16, // 14 steps an epoch
  epochs: 3,
  momentumForm: "velocity",
  milestones: [0.75, 1.5],
};

/** Trains both before the tests of a file. */
export function halfRun() {
  const folder = temporaryFolder();
  const [whole, half] = [join(folder, "whole"), join(folder, "half")] as const;
  beforeAll(async () => {
    await trained({ ...common, steps: 20, out: whole });
    await trained({ ...common, steps: 10, out: half });
  });
  /** A copy of the run of ten steps. */
  const copyOfHalf = (name: string) => {
    const out = join(folder, name);
    cpSync(half, out, { recursive: true });
    return out;
  };
  return { folder, whole, half, copyOfHalf };
}

/** The log without what depends on the clock. */
export const lastingLog = (out: string) => logOf(out).map(lasting);

/** Expects the same state at the end, bit for bit. */
export async function expectSameState(first: string, second: string): Promise<void> {
  const [a, b] = await Promise.all(
    [first, second].map((out) => readCheckpoint(join(out, checkpointName))),
  );
  expect(b!.weights).toEqual(a!.weights);
  expect(b!.momentum).toEqual(a!.momentum);
  expect(b!.ranks).toEqual(a!.ranks);
}

/** Expects the same steps and epochs, and the same state at the end. */
export async function expectSameRun(first: string, second: string): Promise<void> {
  expect(lastingLog(second)).toEqual(lastingLog(first));
  await expectSameState(first, second);
}
