// Verdicts of made-up runs, and the page, pictures and Markdown about them.
import { expect, test } from "vitest";
import { figure1Chart, remarkCharts } from "../../lib/experiment/charts.js";
import { Runs, verdictsOf } from "../../lib/experiment/claims.js";
import { experimentMarkdown } from "../../lib/experiment/markdown.js";
import { readExperiment } from "../../lib/experiment/options.js";
import { pointsOf } from "../../lib/experiment/points.js";
import type { RunRecord } from "../../lib/experiment/records.js";
import {
  deviations,
  type RemarkRun,
  remarks,
  remarkVerdict,
} from "../../lib/experiment/remarks.js";
import { experimentPage, picturesOf } from "../../lib/experiment/report.js";
import { setting } from "../../lib/experiment/setting.js";
import { experimentText } from "../../lib/experiment/text.js";
import { around, paperLike, record, resultOf, small } from "./made.js";

const verdicts = (part: Parameters<typeof verdictsOf>[0], records: RunRecord[]) =>
  verdictsOf(part, new Runs(records), small, 60_000).map(({ ruling, reason }) => [ruling, reason]);

test("Figure 1 is flat as far as every minibatch up to there is shown to be", () => {
  const claimOf = (records: RunRecord[]) =>
    verdictsOf("figure1", new Runs(records), small, 60_000)[0]!.claim;
  expect(claimOf(paperLike)).toMatch(/the error stays that of kn = 256 up to kn = 1,024$/);
  expect(verdicts("figure1", paperLike)).toEqual([
    [
      "holds",
      expect.stringMatching(
        /^kn = 512: \+0\.05 .*; kn = 1,024: −0\.05 .*; kn = 4,096: \+3\.00 points, more than 0\.5/,
      ),
    ],
    ["holds", expect.stringMatching(/^\+3\.00 points: p < 0\.001$/)],
  ]);
  const early = paperLike.map((run) =>
    run.point === "kn-512-gradual" ? { ...run, error: run.error! + 2 } : run,
  );
  expect(claimOf(early)).toMatch(/up to kn = 512$/);
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

test("the page says whether verdicts may use the seeds on which the setting was chosen", () => {
  const usual = resultOf("table1", []);
  const packaged = { ...usual, setting, firstSeed: readExperiment("table1", {}).firstSeed };
  const asked = "But --first-seed 1000 was asked for";
  expect(experimentMarkdown(packaged)).toContain("The setting is the package's.");
  expect(experimentMarkdown(packaged)).not.toContain("But --first-seed");
  expect(experimentMarkdown({ ...packaged, firstSeed: 1000 })).toContain(asked);
});

test("runs that all diverged or collapsed have the error of a guess, and are not called equal", () => {
  const diverged = around({ "kn-256": 90, "kn-4096-gradual": 90, "kn-4096-none": 90 }).map(
    (run) =>
      ({
        ...run,
        ...{ status: run.point === "kn-256" ? "finished" : "diverged", error: 90, isGuess: true },
      }) as RunRecord,
  );
  const nothing = ["undecided", "no run is better than a guess"];
  expect(verdicts("table1", diverged)[0]).toEqual(nothing);
  expect(verdicts("figure3", diverged)).toEqual([nothing]);
  const others = diverged.filter(({ point }) => point !== "kn-256");
  expect(verdicts("table1", [...others, ...around({ "kn-256": 9 })])[0]![0]).toBe("does not hold");
});

test("a remark holds where the wrong way is ten times as far from one worker as the right way", () => {
  const [remark] = remarks as [(typeof remarks)[number]];
  const reference = [2, 1.5, 1];
  const results = (right: number, wrong: number) => (run: RemarkRun) => ({
    seed: 0,
    losses: reference.map(
      (loss) => loss + (run === remark.right ? right : run === remark.wrong ? wrong : 0),
    ),
  });
  const ruling = (...by: Parameters<typeof results>) =>
    remarkVerdict(remark, results(...by), 60_000).ruling;
  expect(ruling(1e-6, 1e-2)).toBe("holds");
  expect(ruling(1e-3, 2e-3)).toBe("undecided");
  expect(ruling(2e-3, 1e-3)).toBe("does not hold");
  expect(ruling(0, 0)).toBe("does not hold");
  expect(ruling(1e-6, Number.NaN)).toBe("holds");
  for (const wrong of [Number.NaN, 1e-6]) expect(ruling(Number.NaN, wrong)).toBe("undecided");
  const notFinite = () => ({ seed: 0, losses: [2, null] });
  expect(remarkVerdict(remark, notFinite, 60_000)).toMatchObject({
    ruling: "undecided",
    reason: "the losses of one worker are not finite",
  });
  for (const any of remarks)
    expect(remarkVerdict(any, () => undefined, 60_000).ruling).toBe("undecided");
  expect(deviations([2, null], [1, 1, 1])).toEqual([1, Infinity, Infinity]);
});

test("a shuffle for each worker leaves images out, however alike the losses are", () => {
  const shuffles = remarks.find(({ wrong }) => wrong === "shuffles")!;
  const same = { seed: 1, losses: [2, 1] };
  const { ruling, reason } = remarkVerdict(shuffles, () => same, 60_000);
  expect(ruling).toBe("holds");
  const counted = /all but (\d+) the right way, all but ([\d,]+) \(25 %\) the wrong way/;
  const [, kept, lost] = counted.exec(reason)!;
  expect(kept).toBe("96");
  expect(Math.abs(Number(lost!.replace(",", "")) - 15_048)).toBeLessThan(300); // (1 − 59,904/120,000)²
  expect(reason).toContain("256 workers it would leave out 37 %");
  // An epoch of one step leaves out many images either way.
  expect(remarkVerdict(shuffles, () => same, 700).ruling).toBe("undecided");
});

test("Table 2 compares rules of the rate and γ, and claims nothing before any of its runs", () => {
  expect(verdicts("table2", paperLike)).toEqual([]);
  const varied = around({
    "kn-4096-gradual-root": 13,
    "kn-4096-gradual-unscaled": 30,
    "kn-4096-gradual-gamma": 12,
    "kn-256-gamma": 9.5,
    "kn-256-half": 9.1,
    "kn-4096-gradual-half": 9.2,
  });
  expect(verdicts("table2", [...paperLike, ...varied]).map(([ruling]) => ruling)).toEqual([
    ...["holds", "holds", "holds", "undecided", "holds", "undecided"],
  ]);
  const result = resultOf("table2", [...paperLike, ...varied]);
  expect(experimentMarkdown(result)).toContain("| 4,096 | unscaled | 3 | 30.00 ± 0.10 | 41.67 |");
  expect(experimentText(result)).toMatch(/30\.00 +0\.10 {2}kn = 4,096, unscaled$/m);
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
    ...[
      "9.00 ± 0.10",
      "4, 1 diverged",
      "23.74 ± 0.09",
      "10.00 ± 0.10",
      "Scale the rate, not the loss",
    ],
    ...["finished: 25 runs in 21 min", "npx onehour experiment paper --seeds 3"],
    ...["21 min in 3 processes, each going on from the one before", "0 to 3"],
    ...["differs in minibatches", "60,000 training images, 10 classes"],
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

test("Figure 1 has the paper's axes, its line at the same baseline, and names what lies beyond", () => {
  const far = paperLike.map((run) =>
    run.point === "kn-4096-gradual" ? { ...run, error: run.error! + 60 } : run,
  );
  const { x, y, series, marks } = figure1Chart(new Runs(far), small);
  expect(x).toMatchObject([{ scale: "log", base: 2, min: 64, max: 65536, format: "minibatch" }]);
  expect(y).toMatchObject({ min: 5, max: 25 });
  expect(marks).toEqual([{ x: [4096], label: "4k: 72.0 %" }]);
  const [own, papers] = series;
  expect([own!.y[1], own!.low![1], own!.high![1]].map((value) => value!.toFixed(2))).toEqual([
    ...["9.00", "8.90", "9.10"],
  ]);
  expect(papers).toMatchObject({
    look: "reference",
    name: "the paper's, drawn 14.60 points lower",
  });
  expect(papers!.y.at(-1)).toBeCloseTo(33.96 - 14.6);
  const svg = picturesOf(resultOf("figure1", far))["figure1.svg"];
  for (const text of ["512", "1k", "64k", "4k: 72.0 %"]) expect(svg).toContain(`>${text}<`);
});

test("remarks' deviations have a logarithmic axis of whole powers of ten", () => {
  const losses = (by: number) => Array.from({ length: 9 }, (_, i) => 2 + i + by * (i + 1));
  const of = { reference: 0, workers: 2e-7, loss: 3e-3 };
  const runs = Object.entries(of).map(([run, by]) =>
    record(`remark-${run}`, 0, 20, { losses: losses(by) }),
  );
  const [first] = remarkCharts(new Runs(runs));
  expect(first!.y).toMatchObject({ scale: "log", min: 1e-7, max: 0.1 });
  expect(first!.series.map(({ y }) => y.length)).toEqual([9, 9]);
});

test("an experiment without runs has a page all the same", () => {
  for (const name of ["figure1", "table1", "figure3", "remarks", "table2", "paper"] as const) {
    const result = resultOf(name, []);
    expect(picturesOf(result)).toEqual({});
    const page = experimentPage(result);
    expect(page.includes("<h2>How it was decided</h2>")).toBe(name !== "remarks");
    expect(page.includes("length of a run")).toBe(name !== "remarks");
    expect(experimentMarkdown(result)).toMatch(/^# .*, at a small scale\n/);
    expect(experimentText(result)).toContain("finished: 0 runs");
    expect(pointsOf(name, small).length).toBeGreaterThan(0);
  }
});

test("what has nothing to say has no heading, and epochs in proportion are rounded", () => {
  const result = resultOf("figure1", []);
  const milestones = [16 / 3, 32 / 3];
  const text = experimentMarkdown({
    ...result,
    verdicts: { figure1: [] },
    setting: { ...small, epochs: 16, milestones, warmupEpochs: 16 / 9, minibatches: [64] },
  });
  expect(text).not.toMatch(/## (Verdicts|Runs)/);
  expect(text).toContain("to a tenth at epochs 5.333, 10.67");
  expect(text).toContain("over 1.778 epochs");
});
