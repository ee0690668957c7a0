// Checks the synthetic task: any size, the same on every machine, with classes that can be learned.
import { expect, test } from "vitest";
import { openDataset } from "../../../lib/data/datasets.js";
import { openStored } from "../stored.js";

test("sizes and classes are taken from the name", async () => {
  const small = await openDataset("synthetic");
  expect(small.images).toEqual({ height: 28, width: 28, channels: 1 });
  expect(small.classes).toBe(10);
  const large = await openStored("synthetic:224x192x3:1000");
  expect(large.images).toEqual({ height: 224, width: 192, channels: 3 });
  expect([large.classes, large.mean.length]).toEqual([1000, 3]);
  const target = new Uint8Array(224 * 192 * 3);
  const label = large.train.read(7, target, 0);
  expect(label).toBeGreaterThanOrEqual(0);
  expect(label).toBeLessThan(1000);
});

test("an image is a function of its index; training and test images differ", async () => {
  const [first, second] = [await openStored("synthetic"), await openStored("synthetic")];
  const read = (split: typeof first.train, index: number) => {
    const target = new Uint8Array(784);
    return [split.read(index, target, 0), ...target];
  };
  expect(read(first.train, 5)).toEqual(read(second.train, 5));
  expect(read(first.train, 5)).not.toEqual(read(first.train, 6));
  expect(read(first.train, 5)).not.toEqual(read(first.test, 5));
});

test("the nearest class mean predicts the class", async () => {
  const { train, test, classes } = await openStored("synthetic:12x12x1:5:500");
  const means = Array.from({ length: classes }, () => new Float64Array(144));
  const counts = new Array<number>(classes).fill(0);
  const target = new Uint8Array(144);
  for (let i = 0; i < train.length; i++) {
    const label = train.read(i, target, 0);
    counts[label]!++;
    for (let p = 0; p < 144; p++) means[label]![p]! += target[p]!;
  }
  let correct = 0;
  for (let i = 0; i < test.length; i++) {
    const label = test.read(i, target, 0);
    const distances = means.map((mean, c) =>
      target.reduce((sum, x, p) => sum + (x - mean[p]! / counts[c]!) ** 2, 0),
    );
    correct += Number(distances.indexOf(Math.min(...distances)) === label);
  }
  expect(correct / test.length).toBeGreaterThan(0.9);
});

test.each(["synthetic:28", "synthetic:28x28x0", "synthetic:4x4x1", "synthetic:8x8x1:1"])(
  "%s is refused with what was expected",
  async (name) => {
    await expect(openDataset(name)).rejects.toThrow(/expected synthetic, synthetic:28x28x1/);
  },
);
