// The division of an epoch among workers, micro-batches and steps.
import { expect, test } from "vitest";
import { Purpose, Random } from "../../lib/data/random.js";
import { permutation, Sampler } from "../../lib/data/sampler.js";

/** Images of each step of an epoch, by worker, concatenated over micro-batches in group order. */
function epochOf(sampler: Sampler, epoch: number, workers: number, accumulate: number): number[][] {
  const steps: number[][] = [];
  for (let i = 0; i < sampler.stepsPerEpoch; i++) {
    const step = epoch * sampler.stepsPerEpoch + i;
    const images: number[] = [];
    for (let micro = 0; micro < accumulate; micro++) {
      for (let rank = 0; rank < workers; rank++) images.push(...sampler.group(step, rank, micro));
    }
    steps.push(images);
  }
  return steps;
}

test("workers' parts are disjoint, equal, and together the head of one permutation", () => {
  const random = new Random(11, Purpose.order);
  for (let trial = 0; trial < 200; trial++) {
    const workers = 1 + random.below(6);
    const accumulate = 1 + random.below(4);
    const batch = 1 + random.below(9);
    const minibatch = workers * accumulate * batch;
    const images = minibatch + random.below(3 * minibatch);
    const seed = random.below(1000);
    const epoch = random.below(4);
    const sampler = new Sampler({ images, workers, accumulate, batch, seed });
    const order = [...permutation(images, seed, epoch)];

    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: images }, (_, i) => i));
    expect(sampler.stepsPerEpoch).toBe(Math.floor(images / minibatch));
    expect(sampler.stepsPerEpoch * minibatch + sampler.remainder).toBe(images);
    const seen = epochOf(sampler, epoch, workers, accumulate).flat();
    expect(seen).toEqual(order.slice(0, sampler.stepsPerEpoch * minibatch));

    const steps = Array.from({ length: sampler.stepsPerEpoch }, (_, i) => i);
    const parts = Array.from({ length: workers }, (_, rank) =>
      steps.flatMap((i) =>
        Array.from({ length: accumulate }, (_, micro) => [
          ...sampler.group(epoch * sampler.stepsPerEpoch + i, rank, micro),
        ]).flat(),
      ),
    );
    for (const part of parts) expect(part.length).toBe(steps.length * accumulate * batch);
    expect(new Set(parts.flat()).size).toBe(seen.length);
  }
});

test("k = 2, a = 1 and k = 1, a = 2 see the same groups", () => {
  const common = { images: 100, batch: 5, seed: 3 };
  const two = new Sampler({ ...common, workers: 2, accumulate: 1 });
  const one = new Sampler({ ...common, workers: 1, accumulate: 2 });
  for (let step = 0; step < 25; step++) {
    for (const group of [0, 1]) {
      expect([...two.group(step, group, 0)]).toEqual([...one.group(step, 0, group)]);
    }
  }
});

test("orders of different epochs and seeds differ", () => {
  expect(permutation(50, 0, 0)).not.toEqual(permutation(50, 0, 1));
  expect(permutation(50, 0, 0)).not.toEqual(permutation(50, 1, 0));
  expect(permutation(50, 0, 1)).toEqual(permutation(50, 0, 1));
});

test("each image is equally likely to come first", () => {
  const counts = new Array<number>(8).fill(0);
  for (let epoch = 0; epoch < 4000; epoch++) counts[permutation(8, 0, epoch)[0]!]!++;
  for (const count of counts) expect(Math.abs(count - 500)).toBeLessThan(100);
});
