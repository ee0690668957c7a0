// Prints a run's events as a user sees them.
import { expect, test } from "vitest";
import type { Recipe, RecipeInput } from "../../lib/recipe/fields.js";
import { commandLine } from "../../lib/text/command.js";
import { describeLength, describeSchedule } from "../../lib/train/describe.js";
import type { RunEvent } from "../../lib/train/events.js";
import { Reporter } from "../../lib/train/reporter.js";
import { formatEvent, parseEvent } from "../../lib/train/workers.js";
import { parseRecipe } from "../support/recipe.js";

function reporter(isTTY: boolean) {
  const written: string[] = [];
  const stream = { isTTY, columns: 80, write: (text: string) => written.push(text) };
  const clock = { now: 0 };
  const env = { NO_COLOR: "1" };
  return { clock, written, reporter: new Reporter(stream, () => clock.now, env) };
}

const step = (index: number, inputWait = 0): RunEvent => ({
  type: "step",
  step: index,
  epoch: 0,
  loss: 1.23456,
  lr: 0.05,
  momentumFactor: 1,
  imagesPerSecond: 1000,
  steps: 100,
  stepsPerEpoch: 10,
  epochs: 10,
  inputWait,
});

test("prints one line an interval without a terminal", () => {
  const { clock, written, reporter: it } = reporter(false);
  for (let i = 0; i < 60; i++) {
    clock.now = i * 0.2;
    it.show(step(i, 0.05)); // a quarter of the time
  }
  expect(written).toEqual([
    "epoch 1/10 · step  26/100 · loss 1.2346 · lr 0.05 · 1,000 images/s · input wait 25%\n",
    "epoch 1/10 · step  51/100 · loss 1.2346 · lr 0.05 · 1,000 images/s · input wait 25%\n",
  ]);
});

test("prints no line of a short evaluation, however long ago the last one was", () => {
  const { clock, written, reporter: it } = reporter(false);
  const results = { top1: 0.5, top5: 1, testLoss: 1, testImages: 8, correct: 4, inputWait: 0 };
  for (const epoch of [0, 1]) {
    clock.now = 60 * epoch;
    for (const share of [0, 0.5]) it.show({ type: "progress", text: "evaluating", share });
    it.show({ type: "epoch", epoch, epochs: 2, trainLoss: 1, seconds: 3, ...results });
  }
  expect(written).toEqual([1, 2].map((epoch) => expect.stringMatching(`^epoch ${epoch}/2: `)));
});

test("shows the loss scale, and the steps that were skipped, also at an epoch's end", () => {
  const { clock, written, reporter: it } = reporter(false);
  const results = { top1: 0.5, top5: 1, testLoss: 1, testImages: 8, correct: 4, inputWait: 0 };
  for (const [i, skipped] of [0, 0, 1, 1200].entries()) {
    clock.now = i * 6;
    it.show({ ...step(i), lossScale: 65536, goodSteps: 0, skipped } as RunEvent);
  }
  const epoch = {
    type: "epoch",
    epoch: 0,
    epochs: 2,
    trainLoss: 1,
    seconds: 3,
    ...results,
  } as const;
  it.show(epoch);
  it.show({ ...epoch, epoch: 1 });
  const scales = written.map(
    (line) => /loss scale [^·]*|[\d,]+ steps skipped so far|$/.exec(line)![0],
  );
  expect(scales).toEqual([
    "loss scale 65,536 ",
    "loss scale 65,536, 1 step skipped ",
    "loss scale 65,536, 1,200 steps skipped ",
    ...["1,200 steps skipped so far", ""],
  ]);
});

test("names no steps at an epoch's end that were skipped before a resumption", () => {
  const epochLine = (skipped: number[]) => {
    const { written, reporter: it } = reporter(false);
    for (const [i, all] of skipped.entries()) {
      const goodSteps = all === skipped[i - 1] || all === 7 ? 1 : 0;
      it.show({ ...step(i), lossScale: 65536, goodSteps, skipped: all } as RunEvent);
    }
    const results = { top1: 0.5, top5: 1, testLoss: 1, testImages: 8, correct: 4, inputWait: 0 };
    it.show({ type: "epoch", epoch: 3, epochs: 9, trainLoss: 1, seconds: 3, ...results });
    return written.at(-1);
  };
  expect(epochLine([7, 7])).toMatch(/3\.0 s\n/);
  expect(epochLine([8, 8])).toMatch(/, 8 steps skipped so far\n/);
});

test("redraws one line on a terminal, and clears it before others", () => {
  const { clock, written, reporter: it } = reporter(true);
  for (let i = 0; i < 5; i++) {
    clock.now = i * 0.21;
    it.show(step(i));
  }
  it.show({ type: "message", text: "hello" });
  expect(written.slice(0, 4).every((text) => /^[━─]+ epoch .*\r$/.test(text))).toBe(true);
  expect(written.slice(4)).toEqual([`${" ".repeat(written[3]!.trimEnd().length)}\r`, "hello\n"]);
});

test("sends events as lines, with the numbers that JSON lacks", () => {
  const event = { ...step(3), loss: Number.NaN, lr: Number.POSITIVE_INFINITY };
  expect(parseEvent(formatEvent(event as RunEvent))).toEqual(event);
  expect(parseEvent("a line of a library")).toBeUndefined();
});

const recipe = {
  workers: 2,
  accumulate: 1,
  batch: 64,
  lr: 0.1,
  epochs: 10,
  lrSchedule: "step",
  warmup: "gradual",
  warmupEpochs: 5,
  milestones: [10 / 3],
} as Recipe;
const schedule = (changes: Partial<Recipe>, stepsPerEpoch = 100) => {
  const all = { ...recipe, ...changes };
  const minibatch = all.workers * all.accumulate * all.batch;
  return describeSchedule(all, { ...all, minibatch, stepsPerEpoch });
};

test("the arithmetic of minibatch and learning rate", () => {
  expect(schedule({})).toBe(
    "minibatch 2 × 1 × 64 = 128, lr 0.1 × 128/256 = 0.05, " +
      "no warm-up (it begins above 256 images), ÷ 10 at epoch 3.333 (step 334)",
  );
  expect(schedule({ batch: 32, accumulate: 128, milestones: [7] })).toBe(
    "minibatch 2 × 128 × 32 = 8192, lr 0.1 × 8192/256 = 3.2, " +
      "warm-up 5 epochs (500 steps) from 0.1, ÷ 10 at epoch 7 (step 700)",
  );
});

test("the arithmetic of the paper's 8192 images", () => {
  const paper = { workers: 8, accumulate: 32, batch: 32, epochs: 90, milestones: [30, 60, 80] };
  expect(schedule(paper, 156)).toBe(
    "minibatch 8 × 32 × 32 = 8192, lr 0.1 × 8192/256 = 3.2, " +
      "warm-up 5 epochs (780 steps) from 0.1, ÷ 10 at epoch 30, 60, 80 (step 4,680, 9,360, 12,480)",
  );
});

test("the end has the median error where there is one, and the command that shows the report", () => {
  const { written, reporter: it } = reporter(false);
  const result = {
    status: "finished",
    out: "runs/a",
    model: "resnet50",
    steps: 9,
    seconds: 2,
  } as const;
  const end = { type: "end", status: "finished", steps: 9, seconds: 2 } as const;
  const tested = { ...result, top1: 0.76, testImages: 50_000 };
  it.show({ ...end, result: tested });
  it.show({ ...end, result: { ...tested, medianTop1Error: 23.744 } });
  const lines =
    "finished after 9 steps, 2.0 s\ntest accuracy 76.00%, 50,000 of 50,000 images counted\n";
  const where = `run folder: runs/a\nreport: ${commandLine("report", "runs/a")}\n`;
  expect(written).toEqual([
    lines + where,
    `${lines}median error of the last five epochs 23.74%\n${where}`,
  ]);
});

test("reports a run shorter than its warm-up, and a drop within it", () => {
  const text = schedule({ batch: 4096, steps: 30, milestones: [2] });
  expect(text).toMatch(/ends within its warm-up, at step 30; a drop falls within the warm-up/);
});

test("shows the run's length, and how --steps changes it", () => {
  const length = (input: RecipeInput) => describeLength(parseRecipe(input) as Recipe, 8);
  expect(length({ epochs: 10 })).toBe("10 epochs of 8 steps, 80 steps");
  expect(length({ epochs: 1, steps: 8 })).toBe("1 epoch of 8 steps, 8 steps");
  expect(length({ epochs: 2, steps: 1 })).toMatch(/2 epochs of 8 steps, 1 step \(steps ends.* 16 /);
  expect(length({ epochs: 2, steps: 500 })).toMatch(/16 steps \(not the 500 of steps.*more epochs/);
});
