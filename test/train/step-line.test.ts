// Shows steps on terminals of different widths.
import { describe, expect, test } from "vitest";
import { width } from "../../lib/terminal/columns.js";
import { timeLeft } from "../../lib/terminal/durations.js";
import { fitFields } from "../../lib/terminal/fields.js";
import type { RunEvent } from "../../lib/train/events.js";
import { Reporter } from "../../lib/train/reporter.js";
import { TimeLeft } from "../../lib/train/time-left.js";
import { Screen } from "../support/screen.js";

const step = (index: number, changes: object = {}): RunEvent => ({
  ...{ type: "step", step: index, epoch: Math.floor(index / 100), loss: 0.4321, lr: 0.05 },
  ...{ momentumFactor: 1, imagesPerSecond: 2534, steps: 200, stepsPerEpoch: 100, epochs: 2 },
  ...{ inputWait: 0, secondsLeft: 3725 },
  ...changes,
});

/** What is on the screen after steps a second apart, of each of which the device waited for `wait` ms. */
function shown(columns: number, wait: number, changes: object = {}, env = {}) {
  const screen = new Screen(columns);
  let now = 0;
  const reporter = new Reporter(screen, () => now, env);
  for (let i = 34; i < 40; i++) {
    now = i;
    reporter.show(step(i, { inputWait: wait / 1000, ...changes }));
  }
  const { rows, written, folds } = screen;
  reporter.show({ type: "message", text: "ends it" });
  return { rows, written, folds };
}

test.each([
  [40, "epoch 1/2 · loss 0.4321 · 1 h 02 min"],
  [80, "━━────── epoch 1/2 · step  40/200 · loss 0.4321 · 2,534/s · 1 h 02 min left"],
  [
    160,
    "━━────── epoch 1/2 · step  40/200 · loss 0.4321 · lr 0.05 · 2,534 images/s · input wait 1% · " +
      "1 h 02 min left",
  ],
])("at %d columns", (columns, line) => {
  expect(shown(columns, 10).rows).toEqual([line]);
});

test("input that holds up the run comes before the step and the bar", () => {
  expect(shown(80, 400).rows[0]).toMatch(/input wait 40%/);
});

test("shows the accuracy on the training images of the epoch so far, and the split of a step", () => {
  const measured = { top1: 0.5, compute: 0.06, exposedCommunication: 0.03, update: 0.01 };
  const { rows } = shown(230, 100, measured);
  expect(rows[0]).toMatch(/ · train top-1 50\.0% · /);
  expect(rows[0]).toMatch(
    / · compute 54% · exposed communication 27% · input wait 10% · update 9% · /,
  );
  expect(shown(80, 10, measured).rows[0]).toBe(
    "━━────── epoch 1/2 · loss 0.4321 · top-1 50.0% · 2,534/s · 1 h 02 min left",
  );
});

test.each([
  [
    { steps: 936, epochs: 2 },
    "━─────── epoch 2/2 · step 140/936 · loss 0.4321 · top-1 82.4% · best 83.10% · lr 0.05 · 2,534/s · " +
      "compute 82% · exposed 12% · input 0% · update 6% · 1 min 45 s",
  ],
  [
    { steps: 100_000, epochs: 90, secondsLeft: 260_000 },
    "──────── epoch 2/90 · step     140/100,000 · loss 0.4321 · top-1 82.4% · best 83.10% · lr 0.05 · 2,534/s · " +
      "compute 82% · exposed 12% · input 0% · 72 h 13 min",
  ],
])("at 160 columns workers have all that the issue names, %o", (changes, line) => {
  const known = { top1: 0.824, bestTop1: 0.831, secondsLeft: 105 };
  const split = { compute: 0.082, exposedCommunication: 0.012, update: 0.006 };
  const screen = new Screen(160);
  let now = 0;
  const reporter = new Reporter(screen, () => now, {});
  for (let i = 134; i < 140; i++) {
    now = i;
    reporter.show(step(i, { ...known, ...split, ...changes }));
  }
  expect(screen.rows.at(-1)).toBe(line);
});

test("never takes more columns than there are, whatever they are, and does not grow without end", () => {
  const scaled = { lossScale: 65536, goodSteps: 1, skipped: 1200, loss: 1e30 };
  for (let columns = 1; columns <= 250; columns += columns < 100 ? 1 : 10) {
    const screen = shown(columns, 400, scaled);
    expect(screen.folds, `${columns} columns`).toBe(0);
    expect(screen.rows.length, `${columns} columns`).toBeLessThanOrEqual(1);
  }
  expect(width(shown(1000, 400, scaled).rows[0]!)).toBeLessThan(230);
});

test("whole lines stand above, and the best accuracy is among the fields", () => {
  const screen = new Screen(230);
  let now = 0;
  const reporter = new Reporter(screen, () => now, {});
  reporter.show({ type: "message", text: "warning: 2 images were damaged" });
  reporter.show(step(98));
  reporter.show({
    ...{ type: "progress", text: "evaluating", share: 0.5 },
    details: ["5,000 of 10,000 images", "83.20% correct so far"],
  });
  expect(screen.rows.at(-1)).toMatch(/^━+─+ evaluating: 5,000 of 10,000 images · 83\.20% correct/);
  reporter.show({
    ...{ type: "epoch", epoch: 0, epochs: 2, trainLoss: 1, top1: 0.831, top5: 1, testLoss: 1 },
    ...{ testImages: 10_000, correct: 8_310, inputWait: 0, seconds: 9 },
  });
  for (const i of [100, 101]) {
    now++;
    reporter.show(step(i, { bestTop1: 0.831 }));
  }
  expect(screen.rows.slice(0, 2)).toEqual([
    "warning: 2 images were damaged",
    "epoch 1/2: train loss 1.0000, test accuracy 83.10% (8,310 of 10,000), 9.0 s",
  ]);
  expect(screen.rows.at(-1)).toMatch(/ · best test top-1 83\.10% · /);
  expect(screen.rows.length).toBe(3);
});

test.each([{ NO_COLOR: "1" }, { TERM: "dumb" }])("no escape code with %o", (env) => {
  const screen = shown(80, 400, {}, env);
  expect(screen.written).not.toContain("\x1b");
  expect(screen.written.split("\n").length - 1).toBe("TERM" in env ? 1 : 0);
});

test("fields go from the least important on, whatever their order", () => {
  const fields = [
    { rank: 2, forms: ["second", "2nd"] as const },
    { rank: 3, forms: ["third"] as const },
    { rank: 1, forms: ["first"] as const },
  ];
  const fitted = [22, 19, 14, 11, 5, 3, 0].map((columns) => fitFields(fields, columns));
  expect(fitted).toEqual([
    ...["second · third · first", "2nd · third · first", "second · first", "2nd · first"],
    ...["first", "fi…", ""],
  ]);
});

test.each([
  [0.2, "1 s"],
  [12.4, "12 s"],
  [59.6, "1 min 00 s"],
  [61, "1 min 00 s"],
  [198, "3 min 20 s"],
  [598, "10 min"],
  [1000, "17 min"],
  [3590, "1 h 00 min"],
  [3725, "1 h 02 min"],
  [360_000, "100 h 00 min"],
])("%d s left are %s", (seconds, text) => expect(timeLeft(seconds)).toBe(text));

describe("the time left", () => {
  const course = {
    steps: 250,
    stepsPerEpoch: 100,
    trainImages: 6000,
    testImages: 1000,
    statistics: 0,
  };

  test("is unknown until a few seconds of steps were measured", () => {
    const it = new TimeLeft(course);
    for (let i = 0; i < 20; i++) {
      expect(it.after(i)).toBeUndefined();
      it.step(100 + i / 10);
    }
    it.step(102.1);
    expect(it.after(21)).toBeGreaterThan(22.9);
  });

  test("counts the steps and the evaluations that are still to come", () => {
    const it = new TimeLeft(course);
    for (let i = 0; i < 100; i++) it.step(i / 10);
    // Three evaluations, each of a sixth of the images, forward alone.
    expect(it.after(100)).toBeCloseTo(15 + (3 * 10) / 18, 1);
    const precise = new TimeLeft({ ...course, statistics: 30 });
    for (let i = 0; i < 100; i++) precise.step(i / 10);
    expect(precise.after(100)).toBeCloseTo(15 + (3 * 10) / 18 + 3, 1);
    it.evaluated(9.9 + 4);
    for (let i = 1; i <= 50; i++) it.step(13.9 + i / 10);
    expect(it.after(150)).toBeCloseTo(10 + 2 * 4, 1);
    expect(it.after(250)).toBeCloseTo(4, 1);
  });

  test("follows a change of speed without jumping", () => {
    const it = new TimeLeft({ ...course, steps: 1e6, stepsPerEpoch: 1e6, testImages: 0 });
    let now = 0;
    const leftAfter = (perStep: number) => {
      now += perStep;
      it.step(now);
      return it.after(0)! / 1e6;
    };
    for (let i = 0; i < 100; i++) leftAfter(0.1);
    expect(leftAfter(1)).toBeLessThan(0.12); // one slow step
    for (let i = 0; i < 1000; i++) leftAfter(0.2);
    expect(leftAfter(0.2)).toBeCloseTo(0.2, 2);
  });
});
