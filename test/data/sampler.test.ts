// Divides an epoch among workers, micro-batches and steps.
import { expect, test } from "vitest";
import { Purpose, Random } from "../../lib/data/random.js";
import { permutation, Sampler, shardOrder } from "../../lib/data/sampler.js";

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

test("with shuffles of their own workers go through the heads of different orders", () => {
  const options = { images: 103, accumulate: 2, batch: 4, seed: 5, shuffle: "worker" } as const;
  const sampler = new Sampler({ ...options, workers: 3 });
  expect(sampler.stepsPerEpoch).toBe(4);
  for (const epoch of [1, 0]) {
    const steps = Array.from({ length: 4 }, (_, i) => 4 * epoch + i);
    for (let rank = 0; rank < 3; rank++) {
      const own = steps.flatMap((step) =>
        [0, 1].flatMap((micro) => [...sampler.group(step, rank, micro)]),
      );
      expect(own).toEqual([...permutation(103, 5, epoch, rank).slice(0, 32)]);
    }
  }
  expect(permutation(103, 5, 0, 1)).not.toEqual(permutation(103, 5, 0));
  // Alone a worker has the one order.
  const [own, common] = (["worker", "global"] as const).map(
    (shuffle) => new Sampler({ ...options, workers: 1, shuffle }),
  );
  for (let step = 0; step < 24; step++)
    expect(own!.group(step, 0, step % 2)).toEqual(common!.group(step, 0, step % 2));
});

test("one order leaves out its remainder alone, and orders of their own (1 − 1/k)^k of the images", () => {
  const options = { images: 10_000, accumulate: 1, batch: 5, seed: 1 };
  for (const workers of [2, 8, 64]) {
    const all = new Sampler({ ...options, workers });
    expect(all.unseen(3)).toBe(all.remainder);
    const own = new Sampler({ ...options, workers, shuffle: "worker" });
    const share = (1 - (10_000 - own.remainder) / (10_000 * workers)) ** workers;
    expect(Math.abs(own.unseen(0) / 10_000 - share)).toBeLessThan(0.02);
  }
  const shards = { ...options, images: 100, shards: [30, 50, 20], shuffle: "worker" } as const;
  const two = new Sampler({ ...shards, workers: 2 });
  expect([...two.group(0, 0, 0)]).toEqual([...shardOrder([30, 50, 20], 1, 0).slice(0, 5)]);
  expect(two.group(0, 1, 0)).not.toEqual(two.group(0, 0, 0));
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

/** The shard of each image of an order. */
function shardsOf(order: Uint32Array, shards: readonly number[]): number[] {
  const shardOf = shards.flatMap((images, shard) => new Array<number>(images).fill(shard));
  return [...order].map((image) => shardOf[image]!);
}

test("an order of shards is a permutation, and no image leaves its shard's window", () => {
  const random = new Random(12, Purpose.order);
  for (let trial = 0; trial < 100; trial++) {
    const shards = Array.from({ length: 1 + random.below(40) }, () => random.below(12));
    const window = 1 + random.below(20);
    const images = shards.reduce((sum, size) => sum + size, 0);
    const order = shardOrder(shards, trial, 3, window);
    expect(shardOrder(shards, trial, 3, window)).toEqual(order);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: images }, (_, i) => i));

    // Where all shards met so far are read to their ends, a window may end; none goes on over it.
    let open = new Map<number, number>();
    let met = 0;
    for (const shard of shardsOf(order, shards)) {
      open.set(shard, (open.get(shard) ?? shards[shard]!) - 1);
      met = Math.max(met, open.size);
      if ([...open.values()].every((left) => left === 0)) open = new Map();
    }
    expect(met).toBeLessThanOrEqual(window);
  }
});

test("an order of shards is divided among workers as any other", () => {
  const shards = [9, 0, 14, 7, 11, 20, 3, 16];
  const common = { images: 80, batch: 5, seed: 3, shards };
  const two = new Sampler({ ...common, workers: 2, accumulate: 1 });
  const one = new Sampler({ ...common, workers: 1, accumulate: 2 });
  const order = [...shardOrder(shards, 3, 1)];
  for (let step = 8; step < 16; step++) {
    for (const group of [0, 1]) {
      const images = [...two.group(step, group, 0)];
      expect(images).toEqual([...one.group(step, 0, group)]);
      expect(images).toEqual(order.slice((2 * (step - 8) + group) * 5).slice(0, 5));
    }
  }
  expect(shardOrder(shards, 3, 0)).not.toEqual(shardOrder(shards, 3, 1));
  expect(shardOrder(shards, 4, 1)).not.toEqual(shardOrder(shards, 3, 1));
});

test("one window over all shards is a uniform permutation; small ones permute the shards", () => {
  const counts = new Array<number>(8).fill(0);
  const pairs = new Array<number>(64).fill(0);
  const firsts = new Array<number>(4).fill(0);
  for (let epoch = 0; epoch < 4000; epoch++) {
    const [first, second] = shardOrder([3, 1, 4], 0, epoch);
    counts[first!]!++;
    pairs[8 * first! + second!]!++;
    firsts[shardOrder([2, 2, 2, 2], 0, epoch, 1)[0]! >> 1]!++;
  }
  for (const count of counts) expect(Math.abs(count - 500)).toBeLessThan(100);
  for (const [i, count] of pairs.entries()) {
    if (i % 9 === 0) expect(count).toBe(0);
    else expect(Math.abs(count - 4000 / 56)).toBeLessThan(45);
  }
  for (const count of firsts) expect(Math.abs(count - 1000)).toBeLessThan(130);
});

test("17 shards are two windows of about the same size, not one of 16 and a rest", () => {
  const order = shardsOf(shardOrder(new Array<number>(17).fill(10), 0, 0), new Array(17).fill(10));
  expect(new Set(order.slice(0, 80)).size).toBe(8);
  expect(new Set(order.slice(80)).size).toBe(9);
});
