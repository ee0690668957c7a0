// Saves within an epoch: checks that this changes nothing in the run, and what a kill leaves.
import { join } from "node:path";
import { expect, test } from "vitest";
import type { World } from "../../lib/ranks/world.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { bestName, checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { Autosave } from "../../lib/train/autosave.js";
import { logOf, recipeOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { resumed, small, trained } from "../support/training.js";
import { worldsOf } from "../support/world.js";
import { startTraining } from "./process.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  ...small,
  dataset: "synthetic:12x12x1:4:1600",
  batch: 8, // 200 steps an epoch
  epochs: 2,
};

const run = async (name: string, recipe: RecipeInput) => {
  const out = join(folder, name);
  await trained({ ...recipe, out });
  return out;
};

const ended = async (out: string) => {
  const { weights, momentum, ranks, position } = await readCheckpoint(join(out, checkpointName));
  return { weights, momentum, ranks, step: position?.step };
};

/** Trains in a process of its own and signals it once a checkpoint within an epoch is there. */
async function signalWithin(
  recipe: RecipeInput,
  out: string,
  signal: NodeJS.Signals,
): Promise<void> {
  const { child, ended } = startTraining({ ...recipe, out });
  for (let step = 0; step % 200 === 0; ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const found = await readCheckpoint(join(out, checkpointName)).catch(() => undefined);
    step = found?.position?.step ?? 0;
    if (child.exitCode !== null) throw new Error("the run ended before its signal");
  }
  child.kill(signal);
  await ended;
}

const kinds = {
  "one worker": common,
  "two workers": { ...common, workers: 2, batch: 4 },
  "two workers of LARS": {
    ...{ ...common, workers: 2, batch: 4 },
    ...{ optimizer: "lars", lr: 8, clipNorm: 0.5 },
  },
} satisfies Record<string, RecipeInput>;
const cases = Object.entries<RecipeInput>(kinds);
/** The run of a kind that is never interrupted. */
const unbroken = (kind: string) => join(folder, `without ${kind}`);

test.each(cases)("saving at every moment changes nothing in how %s train", async (kind, recipe) => {
  const without = await run(`without ${kind}`, { ...recipe, checkpointMinutes: 0 });
  const often = await run(`often ${kind}`, { ...recipe, checkpointMinutes: 1e-7 });
  expect(stepsOf(often)).toEqual(stepsOf(without));
  expect(await ended(often)).toEqual(await ended(without));
});

test.each(cases)("killed within an epoch, %s go on from there", async (kind, recipe) => {
  const out = join(folder, `killed ${kind}`);
  await signalWithin({ ...recipe, checkpointMinutes: 1e-4 }, out, "SIGKILL");
  const { position, ranks, weights } = await readCheckpoint(join(out, checkpointName));
  expect(position!.step % 200).not.toBe(0);
  expect(ranks?.length).toBe(recipe.workers);
  if (ranks) {
    const [a, b] = ranks.map((own) => own.get("bn1.running_mean")!);
    expect(weights.get("bn1.running_mean")).toEqual(a!.map((mean, i) => (mean + b![i]!) / 2));
  }
  await resumed(out, { checkpointMinutes: 0 });
  expect(stepsOf(out)).toEqual(stepsOf(unbroken(kind)));
  expect(await ended(out)).toEqual(await ended(unbroken(kind)));
});

test.each([1, 2, 3])(
  "a signal between the saves of two workers ends both alike, trial %d",
  async (trial) => {
    const out = join(folder, `signalled-${trial}`);
    const recipe = { ...common, workers: 2, batch: 4, epochs: 100, checkpointMinutes: 1e-7 };
    await signalWithin(recipe, out, "SIGTERM");
    const end = logOf(out).at(-1)!;
    expect(end).toMatchObject({ type: "end", status: "interrupted" });
    expect((await ended(out)).step).toBe((end as { steps: number }).steps);
  },
);

test("the best epoch's checkpoint is kept as well as the last", async () => {
  const out = unbroken("one worker");
  const epochs = logOf(out).filter((line) => line.type === "epoch");
  const best = epochs.reduce((most, line) => (line.top1 > most.top1 ? line : most));
  const { position } = await readCheckpoint(join(out, bestName));
  expect(position?.step).toBe(200 * (best.epoch + 1));

  // Later epochs, at a rate of nearly 0, are no better and leave it as it is.
  const still = await run("still", { ...common, lr: 1e-12, steps: 400 });
  const tops = logOf(still).flatMap((line) => (line.type === "epoch" ? [line.top1] : []));
  const kept = await readCheckpoint(join(still, bestName));
  expect(kept.position?.step).toBe(tops[1]! > tops[0]! ? 400 : 200);
  expect(recipeOf(still).checkpointMinutes).toBe(10);
});

test("both ranks save after the furthest step that one has committed to", async () => {
  let hear = () => {}; // what rank 0 announced
  const listen: World["listen"] = (_, listener) => {
    hear = () => listener("");
    return () => {};
  };
  const [one, other] = worldsOf(2, (rank) =>
    rank === 1 ? { listen } : { listen: () => () => {} },
  );
  const first = new Autosave(one!, 1e-9, () => 7);
  const second = new Autosave(other!, 1e-9, () => 9);
  await new Promise((resolve) => setTimeout(resolve, 2));
  first.askIfDue();
  expect([first.pending, second.pending]).toEqual([true, false]);
  hear();
  await Promise.all([first.settled(), second.settled()]);
  for (const rank of [first, second]) {
    expect(rank.pending).toBe(false);
    expect([7, 8, 9, 9].map((step) => rank.take(step))).toEqual([false, false, true, false]);
  }
});
