// Runs of two points, compared a seed at a time.
import { expect, test } from "vitest";
import { Runs } from "../../lib/experiment/claims.js";
import type { RunRecord } from "../../lib/experiment/records.js";

const run = (point: string, seed: number, error: number | undefined): RunRecord => ({
  ...{ point, seed, folder: `runs/${point}-seed-${seed}`, seconds: 1, done: 1, losses: [] },
  ...(error === undefined
    ? { status: "begun", epochs: [] }
    : { status: "finished", error, epochs: [{ train: error / 2, test: error }] }),
});

test("a difference has two runs of one seed; a seed that one point lacks has none", () => {
  const runs = new Runs([
    ...[run("a", 0, 9), run("a", 1, 10), run("a", 2, 8), run("a", 3, undefined)],
    ...[run("b", 2, 7), run("b", 0, 9.5), run("b", 3, 6), run("b", 4, 5)],
  ]);
  expect(runs.differences("a", "b")).toEqual([-0.5, 1]);
  expect(runs.differences("b", "a")).toEqual([-1, 0.5]);
  expect(runs.differences("a", "b", ({ epochs }) => epochs.at(-1)?.train ?? undefined)).toEqual([
    -0.25, 0.5,
  ]);
  expect(runs.differences("a", "c")).toEqual([]);
});
