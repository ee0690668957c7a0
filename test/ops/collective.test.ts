// Runs collectives inside programs, between ranks that live in this process.
import { describe, expect, it } from "vitest";
import type { Graph, Value } from "../../lib/graph/graph.js";
import { allGather, allReduce, broadcast } from "../../lib/ops/index.js";
import { connectAll } from "../support/communicators.js";
import { type Results, run } from "../support/run.js";

/** Compares bits; `toEqual` is slow on long arrays. */
function same(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}

/** The same program on every rank, with that rank's numbers. */
async function onRanks(
  size: number,
  numbers: (rank: number) => Float32Array,
  build: (x: Value, g: Graph) => Value,
  shape = (x: Float32Array): number[] => [x.length],
): Promise<Float32Array[]> {
  const ranks = await connectAll(size);
  const results = await Promise.all(
    ranks.map(
      (gradients, rank): Promise<Results> =>
        run(
          (g) => {
            const x = numbers(rank);
            return { y: build(g.constant(x, shape(x)), g) };
          },
          { gradients },
          rank,
        ),
    ),
  );
  return results.map(({ y }) => y!);
}

// Small messages and large ones take different algorithms; odd lengths do not divide among ranks.
describe.each([
  { size: 1, length: 5 },
  { size: 2, length: 1 },
  { size: 2, length: 100_003 },
  { size: 3, length: 37 },
  { size: 3, length: 50_001 },
])("collectives of $size ranks on $length numbers", ({ size, length }) => {
  const communicator = "gradients";
  const numbers = (rank: number) => Float32Array.from({ length }, (_, i) => (i % 97) * (rank + 1));

  it("all-reduce sums, with the same bits on every rank", async () => {
    const results = await onRanks(size, numbers, (x) => allReduce(x, { communicator }));
    const factor = (size * (size + 1)) / 2;
    const expected = numbers(0).map((x) => x * factor);
    for (const y of results) expect(same(y, expected)).toBe(true);
    const uneven = (rank: number) => numbers(rank).map((x) => Math.fround(Math.sin(x)) / 3);
    const [first, ...others] = await onRanks(size, uneven, (x) => allReduce(x, { communicator }));
    for (const y of others) expect(same(y, first!)).toBe(true);
  });

  it("all-gather keeps the order of ranks", async () => {
    const results = await onRanks(
      size,
      numbers,
      (x) => allGather(x, { communicator, size }),
      (x) => [1, x.length],
    );
    const expected = Float32Array.from(
      Array.from({ length: size }, (_, rank) => [...numbers(rank)]).flat(),
    );
    for (const y of results) expect(same(y, expected)).toBe(true);
  });

  it("broadcast sends the root's", async () => {
    const root = size - 1;
    const results = await onRanks(size, numbers, (x) => broadcast(x, { communicator, root }));
    for (const y of results) expect(same(y, numbers(root))).toBe(true);
  });
});
