import { describe, expect, test } from "vitest";
import {
  type AlgorithmName,
  algorithmNames,
  algorithms,
  allReduceSeconds,
  type Topology,
} from "../../lib/plan/algorithms.js";

const latency = 1e-5;
const link = { bandwidth: 1e9, latency };
const bytes = 1e8; // a tenth of a second on the link
const seconds = (name: AlgorithmName, members: number) =>
  algorithms[name].seconds(bytes, members, link);

describe("the formulas", () => {
  test.each([2, 3, 8, 1000])("a ring of %d", (p) => {
    expect(seconds("ring", p)).toBeCloseTo(2 * (p - 1) * (latency + 0.1 / p), 12);
  });

  test.each([
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 3],
    [1024, 10],
    [1025, 11],
  ])("a double tree of %d is %d high", (p, height) => {
    expect(seconds("tree", p)).toBeCloseTo(2 * height * latency + 0.2, 12);
  });

  test.each([
    [2, 1],
    [4, 2],
    [8, 3],
    [1024, 10],
  ])("halving and doubling of %d in two times %d messages", (p, steps) => {
    const bandwidthPart = (0.2 * (p - 1)) / p;
    expect(seconds("halving-doubling", p)).toBeCloseTo(2 * steps * latency + bandwidthPart, 12);
  });

  test.each([
    [3, 2],
    [5, 4],
    [7, 4],
    [1023, 512],
  ])("halving and doubling of %d is that of %d, and the bytes there and back", (p, paired) => {
    const fold = 2 * (latency + 0.1);
    expect(seconds("halving-doubling", p)).toBeCloseTo(
      seconds("halving-doubling", paired) + fold,
      12,
    );
  });

  test("two members exchange their halves, whatever the algorithm but the tree", () => {
    expect(seconds("ring", 2)).toBe(seconds("halving-doubling", 2));
  });

  test("halving and doubling wins over the ring as the paper has it, by its fewer messages", () => {
    const small = 4e3;
    const of = (name: AlgorithmName) => algorithms[name].seconds(small, 32, link);
    const saved = (2 * 31 - 2 * 5) * latency;
    expect(of("ring") - of("halving-doubling")).toBeCloseTo(saved, 12);
  });
});

describe("nodes of several workers", () => {
  const topology = (more: Partial<Topology> = {}): Topology => ({
    algorithm: "ring",
    workersPerNode: 8,
    link,
    linkInside: { bandwidth: 1e11, latency: 1e-6 },
    ...more,
  });

  test.each(algorithmNames)("one worker communicates nothing (%s)", (algorithm) => {
    expect(allReduceSeconds(bytes, 1, topology({ algorithm }))).toBe(0);
  });

  test("within a node the link between nodes has no part", () => {
    const slow = { bandwidth: 1, latency: 100 };
    expect(allReduceSeconds(bytes, 8, topology({ link: slow }))).toBeCloseTo(
      2 * 7 * (1e-6 + 1e-3 / 8),
      12,
    );
  });

  test("over nodes: a sum inside, an all-reduce between, a broadcast inside", () => {
    const inside = 7 * 1e-6 + 1e-3;
    const between = 2 * 3 * (latency + 0.1 / 4);
    expect(allReduceSeconds(bytes, 32, topology())).toBeCloseTo(inside + between + inside, 12);
    // The last node may hold fewer.
    expect(allReduceSeconds(bytes, 25, topology())).toBe(allReduceSeconds(bytes, 32, topology()));
  });

  test("with one worker a node there is nothing inside", () => {
    const alone = topology({ workersPerNode: 1, linkInside: { bandwidth: 1, latency: 1e9 } });
    expect(allReduceSeconds(bytes, 4, alone)).toBeCloseTo(2 * 3 * (latency + 0.1 / 4), 12);
  });

  test.each(algorithmNames)("more workers never take less, by powers of two (%s)", (algorithm) => {
    const times = Array.from({ length: 11 }, (_, i) =>
      allReduceSeconds(bytes, 2 ** i, topology({ algorithm })),
    );
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });
});
