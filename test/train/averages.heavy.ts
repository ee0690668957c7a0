// What a run of several workers averages over its steps, resumed: the moving average of the weights, and the
// gradient noise scale.
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { resumed, small, trained } from "../support/training.js";

const folder = temporaryFolder();
const common = { ...small, dataset: "synthetic:12x12x1:4:32", batch: 8, lr: 0.4 } as const;
const averageIn = async (out: string) => (await readCheckpoint(join(out, checkpointName))).ema!;
const scalesOf = (out: string) =>
  logOf(out).flatMap((line) => (line.type === "step" ? [line.noiseScale] : []));

test("a moving average is resumed within an epoch bit for bit, with each worker's own statistics in it", async () => {
  const two = { ...common, emaDecay: 0.75, workers: 2, batch: 4, epochs: 2 };
  const [whole, out] = [join(folder, "whole"), join(folder, "half")];
  const { result, events } = await trained({ ...two, out: whole });
  await trained({ ...two, steps: 3, out });
  const { ranks } = await readCheckpoint(join(out, checkpointName));
  const means = ranks!.map((own) => own.get("ema.bn1.running_mean")!);
  expect(means[0]).not.toEqual(means[1]);
  await resumed(out, { steps: 8 });
  expect(await averageIn(out)).toEqual(await averageIn(whole));
  const losses = (run: string) =>
    logOf(run).flatMap((line) => (line.type === "epoch" ? [line] : []));
  const tested = (run: string) =>
    losses(run).map(({ emaTop1, emaTestLoss }) => [emaTop1, emaTestLoss]);
  expect(tested(out)).toEqual(tested(whole));

  const last = losses(whole).at(-1)!;
  expect(result.emaTop1).toBe(last.emaTop1);
  expect(events.find(({ type }) => type === "epoch")).toHaveProperty("emaTop1");
  const evaluated = await evaluateCheckpoint(whole, undefined, {
    ...small,
    model: "resnet8",
    ema: true,
  });
  expect(evaluated.top1).toBe(last.emaTop1);
  expect(evaluated.loss).toBeCloseTo(last.emaTestLoss!, 5);
  expect(evaluated.loss).not.toBe(last.testLoss);
});

test("a noise scale is resumed as it was, and by fewer workers too", async () => {
  const two = { ...common, lr: 0.1, noiseScale: true, workers: 2, batch: 4, epochs: 2 };
  const [whole, out, alone] = [join(folder, "all"), join(folder, "cut"), join(folder, "alone")];
  await trained({ ...two, steps: 4, out: whole });
  await trained({ ...two, steps: 2, out });
  await trained({ ...two, steps: 2, out: alone });
  await resumed(out, { steps: 4 });
  expect(scalesOf(out)).toEqual(scalesOf(whole));

  const sumsOf = async (run: string) =>
    (await readCheckpoint(join(run, checkpointName))).position!.noise!;
  const before = await sumsOf(alone);
  await resumed(alone, { workers: 1, steps: 4 }); // of two micro-batches
  const after = await sumsOf(alone);
  expect(after).not.toEqual(before);
  expect(Number.isFinite(after.noiseSum + after.signalSum)).toBe(true);
  expect(scalesOf(alone).slice(0, 2)).toEqual(scalesOf(whole).slice(0, 2));
});
