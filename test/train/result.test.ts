// Computes the figure of the paper's tables: the median error of the last five epochs.
import { expect, test } from "vitest";
import { type EpochLine, endLine, medianTop1Error, resultOf } from "../../lib/train/result.js";

const epochs = (...top1: number[]): EpochLine[] =>
  top1.map((fraction, epoch) => ({
    type: "epoch",
    epoch,
    trainLoss: 1 / (epoch + 1),
    top1: fraction,
    top5: 1,
    testLoss: 1,
    testImages: 50_000,
    inputWait: 0,
    seconds: 1,
  }));

test("the median is of the last five epochs only, and in percent", () => {
  expect(medianTop1Error(epochs(0.1, 0.75, 0.76, 0.7, 0.9, 0.77))).toBeCloseTo(24, 10);
  expect(medianTop1Error(epochs(0.9, 0.9, 0.75, 0.76, 0.7, 0.9, 0.77))).toBeCloseTo(24, 10);
});

test("fewer epochs have none", () => {
  expect(medianTop1Error(epochs(0.1, 0.2, 0.3, 0.4))).toBeUndefined();
  const facts = { status: "finished", out: "", model: "resnet8", steps: 4, seconds: 1 } as const;
  expect(resultOf(facts, [])).toEqual(facts);
  const result = resultOf(facts, epochs(0.1, 0.2));
  expect(result).toEqual({ ...facts, trainLoss: 0.5, top1: 0.2, top5: 1, testImages: 50_000 });
  expect(endLine(result)).not.toHaveProperty("medianTop1Error");
});

test("the log's last line holds it", () => {
  const facts = { status: "finished", out: "", model: "resnet8", steps: 5, seconds: 1 } as const;
  const line = endLine(resultOf(facts, epochs(0.1, 0.2, 0.3, 0.4, 0.5)));
  expect(line).toEqual({
    type: "end",
    status: "finished",
    steps: 5,
    seconds: 1,
    top1: 0.5,
    medianTop1Error: 70,
  });
});
