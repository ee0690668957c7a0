// What a run's folder says: finished, diverged, failed or begun, and the error that counts.
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Point } from "../../lib/experiment/points.js";
import { guessError, readRecord } from "../../lib/experiment/records.js";
import { temporaryFolder, writeFiles } from "../support/folder.js";

const out = temporaryFolder();
let made = 0;

/** The record of a run with these lines in its log. */
async function recordOf(lines: readonly object[], recipe: object = {}, isOnce = false) {
  const name = `point-${made++}`;
  const point: Point = {
    ...{ id: "point", label: "point", recipe: {} },
    ...(isOnce ? { once: true } : {}),
  };
  const log = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  const fields = { dataset: "synthetic", model: "resnet8", epochs: 4, batch: 32, ...recipe };
  writeFiles(join(out, "runs", name), {
    "recipe.json": JSON.stringify({ workers: 1, accumulate: 1, ...fields }),
    "log.jsonl": log,
  });
  return await readRecord(out, { point, seed: 3, name }, 10);
}

const step = (i: number, loss: number | null = 1) => ({
  ...{ type: "step", step: i, epoch: Math.floor(i / 2), loss, lr: 0.1, momentumFactor: 1 },
  imagesPerSecond: 64,
});
const epoch = (i: number, top1: number, trainTop1?: number) => ({
  ...{ type: "epoch", epoch: i, trainLoss: 1, top1, top5: 1, testLoss: 1, testImages: 100 },
  ...{ inputWait: 0, seconds: 2 },
  ...(trainTop1 === undefined ? {} : { trainTop1 }),
});
const end = (status: string, more: object = {}) => ({
  ...{ type: "end", status, steps: 4, seconds: 8, ...more },
});

test("a run that has not begun has no record", async () => {
  const point = { id: "point", label: "point", recipe: {} };
  expect(await readRecord(out, { point, seed: 0, name: "nowhere" }, 10)).toBeUndefined();
});

test("of five epochs or more the median of the last five counts, of fewer the last", async () => {
  const tops = [0.1, 0.9, 0.8, 0.85, 0.95, 0.7];
  const all = [...tops.map((top1, i) => epoch(i, top1)), end("finished")];
  expect((await recordOf(all, { epochs: 6 }))!.error).toBeCloseTo(15, 10);
  const few = [epoch(0, 0.5, 0.4), epoch(1, 0.75), end("finished")];
  const record = await recordOf(few);
  expect(record).toMatchObject({
    point: "point",
    seed: 3,
    status: "finished",
    seconds: 8,
    done: 1,
  });
  expect(record!.error).toBe(25);
  expect(record!.epochs).toEqual([
    { train: 60, test: 50 },
    { train: null, test: 25 },
  ]);
});

test("a run that diverged counts with the error of a guess, whatever it had reached", async () => {
  const reason = "step 3 is not finite: loss NaN";
  const ended = end("failed", { reason, code: "ERR_ONEHOUR_NOT_FINITE" });
  const lines = [step(0), step(1), epoch(0, 0.9), step(2, null), ended];
  const record = await recordOf(lines, {}, true);
  expect(record).toMatchObject({ status: "diverged", error: guessError(10), reason, done: 1 });
  expect(record!.losses).toEqual([1, 1, null]); // a remark's
  expect((await recordOf(lines))!.losses).toEqual([]);
  expect(guessError(10)).toBe(90);
  expect(record!.isGuess).toBe(true);
  const collapsed = await recordOf([epoch(0, 0.1), end("finished")]);
  expect(collapsed).toMatchObject({ status: "finished", error: 90, isGuess: true });
});

test("a run that failed otherwise has no error, and may be tried again", async () => {
  for (const code of ["ERR_ONEHOUR_DATA", undefined]) {
    const ended = end("failed", { reason: "no space", ...(code ? { code } : {}) });
    const record = await recordOf([step(0), step(1), epoch(0, 0.9), step(2), ended]);
    expect(record).toMatchObject({ status: "failed", reason: "no space", done: 0.375 });
    expect(record).not.toHaveProperty("error");
  }
});

test("a run that was begun tells how far it is, by its epochs or by its steps", async () => {
  expect(await recordOf([])).toMatchObject({ status: "begun", done: 0, losses: [], epochs: [] });
  const steps = [...[0, 1, 2, 3].map((i) => step(i))];
  expect(await recordOf(steps)).toMatchObject({ status: "begun", done: 0.5 });
  expect(await recordOf(steps, { steps: 5 })).toMatchObject({ status: "begun", done: 0.8 });
  expect(await recordOf([...steps, end("interrupted")])).toMatchObject({ status: "begun" });
});
