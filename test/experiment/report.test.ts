// Verdicts of made-up runs, and the page, pictures and Markdown about them.
import { expect, test } from "vitest";
import { partsOf, Runs, verdictsOf } from "../../lib/experiment/claims.js";
import { pointsOf } from "../../lib/experiment/points.js";
import type { RunRecord } from "../../lib/experiment/records.js";
import {
  deviations,
  type RemarkRun,
  remarks,
  remarkVerdict,
} from "../../lib/experiment/remarks.js";
import { experimentMarkdown, experimentPage, picturesOf } from "../../lib/experiment/report.js";
import type { ExperimentResult } from "../../lib/experiment/result.js";
import { setting } from "../../lib/experiment/setting.js";
import { experimentText } from "../../lib/experiment/text.js";

const small = { ...setting, minibatches: [64, 512, 1024, 4096], large: 4096 };

function record(point: string, seed: number, error: number, more: Partial<RunRecord> = {}) {
  return {
    ...{ point, seed, folder: `runs/${point}-seed-${seed}`, status: "finished", error },
    ...{ seconds: 60, done: 1, losses: [], epochs: [{ train: error + 1, test: error }] },
    ...more,
  } as RunRecord;
}

/** Three seeds around each error. */
const around = (errors: Record<string, number>) =>
  Object.entries(errors).flatMap(([point, error]) =>
    [-0.1, 0, 0.1].map((noise, seed) => record(point, seed, error + noise)),
  );

const paperLike = around({
  "kn-64": 9.1,
  "kn-256": 9,
  "kn-512-gradual": 9.05,
  "kn-1024-gradual": 8.95,
  "kn-4096-gradual": 12,
  "kn-4096-none": 14,
  "kn-4096-constant": 16,
});
const verdicts = (part: Parameters<typeof verdictsOf>[0], records: RunRecord[]) =>
  verdictsOf(part, new Runs(records), small).map(({ ruling, reason }) => [ruling, reason]);

test("Figure 1 is flat as far as every minibatch up to there is shown to be", () => {
  expect(verdicts("figure1", paperLike)).toEqual([
    [
      "holds",
      expect.stringMatching(/^up to kn = 1,024; kn = 4,096: \+3\.00 points, more than 0\.5/),
    ],
    ["holds", expect.stringMatching(/^\+3\.00 points: p < 0\.001$/)],
  ]);
  const early = paperLike.map((run) =>
    run.point === "kn-512-gradual" ? { ...run, error: run.error! + 2 } : run,
  );
  expect(verdicts("figure1", early)[0]).toEqual([
    "does not hold",
    expect.stringMatching(/^kn = 512: \+2\.05/),
  ]);
  expect(verdicts("figure1", []).map(([ruling]) => ruling)).toEqual(["undecided", "undecided"]);
});

test("Table 1 compares warm-ups, and Figure 3 the training errors", () => {
  expect(verdicts("table1", paperLike).map(([ruling]) => ruling)).toEqual([
    ...["does not hold", "holds", "holds"],
  ]);
  expect(verdicts("figure3", paperLike)[0]![0]).toBe("does not hold");
  const same = around({ "kn-256": 9, "kn-4096-gradual": 9.1, "kn-4096-none": 9 });
  expect(verdicts("table1", same).map(([ruling]) => ruling)).toEqual([
    ...["holds", "undecided", "undecided"],
  ]);
  expect(verdicts("figure3", same)[0]![0]).toBe("holds");
});

test("a remark holds where the wrong way is ten times as far from one worker as the right way", () => {
  const [remark] = remarks as [(typeof remarks)[number]];
  const reference = [2, 1.5, 1];
  const losses = (right: number, wrong: number) => (run: RemarkRun) =>
    reference.map(
      (loss) => loss + (run === remark.right ? right : run === remark.wrong ? wrong : 0),
    );
  expect(remarkVerdict(remark, losses(1e-6, 1e-2)).ruling).toBe("holds");
  expect(remarkVerdict(remark, losses(1e-3, 2e-3)).ruling).toBe("does not hold");
  expect(remarkVerdict(remark, () => undefined).ruling).toBe("undecided");
  expect(deviations([2, null], [1, 1, 1])).toEqual([1, Infinity, Infinity]);
});

const resultOf = (name: ExperimentResult["name"], runs: RunRecord[]): ExperimentResult => ({
  ...{ type: "onehour-experiment-result", name, out: "x", setting: small, seeds: 3, firstSeed: 0 },
  ...{ jobs: 2, status: "finished", seconds: 1234, runs, environment: {} as never },
  verdicts: Object.fromEntries(
    partsOf(name).map((part) => [part, verdictsOf(part, new Runs(runs), small)]),
  ),
});

test("page, pictures, Markdown and text show errors, what diverged, and the paper's values", () => {
  const diverged = { status: "diverged", error: 90, reason: "step 3 | is not finite" } as const;
  const runs = [
    ...paperLike,
    record("kn-4096-gradual", 3, 90, diverged),
    ...["reference", "workers", "loss"].map((run, i) =>
      record(`remark-${run}`, 0, 20, { losses: [2, 1 + i / 100] }),
    ),
  ];
  const result = resultOf("paper", runs);
  expect(Object.keys(picturesOf(result))).toEqual([
    ...["figure1.svg", "table1.svg", "figure3.svg", "remarks.svg"],
  ]);
  const html = experimentPage(result);
  const markdown = experimentMarkdown(result);
  // A page is long: what it lacks says more than all of it.
  const shown = [
    ...["9.00 ± 0.10", "4, 1 diverged", "23.74 ± 0.09", "Scale the rate, not the loss"],
    "finished: 25 runs in 21 min",
  ];
  for (const text of [html, markdown])
    expect(shown.filter((part) => !text.includes(part))).toEqual([]);
  expect(markdown).toContain("![Figure 1: error against minibatch](figure1.svg)");
  expect(markdown).toContain("step 3 \\| is not finite");
  expect(markdown.match(/^\|.*\|$/gm)!.length).toBeGreaterThan(30);
  const text = experimentText(result);
  expect(text).toMatch(/^ +3 +9\.00 +0\.10 {2}kn = 256$/m);
  expect(text).toMatch(/^ +4 +31\.50 +39\.00 {2}kn = 4,096, gradual warm-up: 1 diverged$/m);
  expect(text.split("\n").every((line) => line.length <= 80)).toBe(true);
});

test("an experiment without runs has a page all the same", () => {
  for (const name of ["figure1", "table1", "figure3", "remarks", "paper"] as const) {
    const result = resultOf(name, []);
    expect(picturesOf(result)).toEqual(
      name === "figure1" || name === "paper" ? expect.anything() : {},
    );
    expect(experimentPage(result).includes("Method")).toBe(true);
    expect(experimentMarkdown(result)).toMatch(/^# Experiment /);
    expect(experimentText(result)).toContain("finished: 0 runs");
    expect(pointsOf(name, small).length).toBeGreaterThan(0);
  }
});
