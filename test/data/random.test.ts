// Checks the counter-based generator: known answers, range, and independence of streams.
import { expect, test } from "vitest";
import { Purpose, Random, threefry2x32 } from "../../lib/data/random.js";

// Known answers of Threefry-2x32-20, as published with the reference implementation.
test.each([
  { key: [0, 0], counter: [0, 0], answer: [0x6b200159, 0x99ba4efe] },
  {
    key: [0xffffffff, 0xffffffff],
    counter: [0xffffffff, 0xffffffff],
    answer: [0x1cb996fc, 0xbb002be7],
  },
  {
    key: [0x13198a2e, 0x03707344],
    counter: [0x243f6a88, 0x85a308d3],
    answer: [0xc4923a9c, 0x483df7a0],
  },
])("threefry2x32 of key $key and counter $counter", ({ key, counter, answer }) => {
  const out = new Uint32Array(2);
  threefry2x32(key[0]!, key[1]!, counter[0]!, counter[1]!, out);
  expect([...out]).toEqual(answer);
});

test("a stream is a function of its name alone", () => {
  const draw = (...name: [number, Purpose, number, number]) => {
    const random = new Random(...name);
    return Array.from({ length: 5 }, () => random.uint32());
  };
  const first = draw(1, Purpose.order, 2, 3);
  expect(draw(1, Purpose.order, 2, 3)).toEqual(first);
  const others = [
    draw(2, Purpose.order, 2, 3),
    draw(1 + 2 ** 32, Purpose.order, 2, 3),
    draw(1, Purpose.augmentation, 2, 3),
    draw(1, Purpose.order, 3, 3),
    draw(1, Purpose.order, 2, 4),
  ];
  for (const other of others) expect(other).not.toEqual(first);
});

test("uniform and normal draws have the moments they should", () => {
  const random = new Random(5, Purpose.weights);
  const uniform = Array.from({ length: 20_000 }, () => random.uniform());
  const normal = Array.from({ length: 10_000 }, () => random.normals()).flat();
  const mean = (values: number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
  expect(mean(uniform)).toBeCloseTo(0.5, 1);
  expect(Math.min(...uniform)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...uniform)).toBeLessThan(1);
  expect(Math.abs(mean(normal))).toBeLessThan(0.03);
  expect(mean(normal.map((x) => x * x))).toBeCloseTo(1, 1);
});

test("below covers its range evenly", () => {
  const random = new Random(6, Purpose.order);
  const counts = new Array<number>(9).fill(0);
  for (let i = 0; i < 9000; i++) counts[random.below(9)]!++;
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
});
