// Runs of an experiment that nobody trained, for the tests of what is said of them.
import { partsOf, Runs, verdictsOf } from "../../lib/experiment/claims.js";
import type { RunRecord } from "../../lib/experiment/records.js";
import type { ExperimentResult } from "../../lib/experiment/result.js";
import { setting } from "../../lib/experiment/setting.js";

/** A setting with few minibatches. */
export const small = { ...setting, minibatches: [64, 512, 1024, 4096], large: 4096 };

/** The run of a point, in its first epoch at an error of a point more on the training images. */
export function record(point: string, seed: number, error: number, more: Partial<RunRecord> = {}) {
  return {
    ...{ point, seed, folder: `runs/${point}-seed-${seed}`, status: "finished", error },
    ...{ seconds: 60, done: 1, losses: [], epochs: [{ train: error + 1, test: error }] },
    ...more,
  } as RunRecord;
}

/** Three seeds around each error. */
export const around = (errors: Record<string, number>) =>
  Object.entries(errors).flatMap(([point, error]) =>
    [-0.1, 0, 0.1].map((noise, seed) => record(point, seed, error + noise)),
  );

/** Flat up to 1,024, and gradual warm-up as the best. */
export const paperLike = around({
  "kn-64": 9.1,
  "kn-256": 9,
  "kn-512-gradual": 9.05,
  "kn-1024-gradual": 8.95,
  "kn-4096-gradual": 12,
  "kn-4096-none": 14,
  "kn-4096-constant": 16,
});
/** The result of these runs. */
export const resultOf = (name: ExperimentResult["name"], runs: RunRecord[]): ExperimentResult => ({
  ...{ type: "onehour-experiment-result", name, out: "x", setting: small, seeds: 3, firstSeed: 0 },
  ...{
    device: "cpu",
    jobs: 2,
    status: "finished",
    seconds: 1234,
    processes: 3,
    runs,
    environment: {} as never,
  },
  ...{ command: "npx onehour experiment paper --seeds 3", images: 60_000, classes: 10 },
  verdicts: Object.fromEntries(
    partsOf(name).map((part) => [part, verdictsOf(part, new Runs(runs), small, 60_000)]),
  ),
});
