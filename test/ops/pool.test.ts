// Max pooling and global average pooling against PyTorch.
import { expect, it } from "vitest";
import { globalAveragePool, maxPool } from "../../lib/ops/index.js";
import { maxPoolOp } from "../../lib/ops/pool.js";
import { device } from "../support/device.js";
import { cases, lookup, readFixture } from "../support/fixtures.js";
import { BF16_TOLERANCE, constant, F32_TOLERANCE, run, testFamily } from "../support/op-cases.js";

testFamily("max-pool", {
  inputs: () => ({ x: "T" }),
  build: (_, { x }, { window, stride, padding }) => maxPool(x!, { window, stride, padding }),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  // Values are 1/16 apart, so that no maximum changes within a step of 1/64: linear up to there.
  // Where values tie there is no derivative.
  finiteDifference: ({ values }) =>
    values === "ties" ? undefined : { step: 1 / 64, tolerance: 1e-4 },
});

it.each(cases["max-pool"])("max-pool without index: $name", async (c) => {
  const fixture = lookup(readFixture("max-pool", `${c.name}/`));
  const { window, stride, padding } = c;
  const { y } = await run((g) =>
    g.apply(maxPoolOp, { x: constant(g, fixture("x"), c.dtype) }, { window, stride, padding }),
  );
  // Exact in every type; of 0 and −0, which are equal, each algorithm has another for the greater.
  const signless = (values: ArrayLike<number>) => Array.from(values, (value) => value + 0);
  expect(signless(y!)).toEqual(signless(fixture("y").data));
});

it.each(["f32", "bf16"] as const)("max-pool of NaN in %s", async (dtype) => {
  // Windows of 2×2 in a column: numbers, a NaN among numbers, NaNs alone.
  const data = Float32Array.from([1, 2, 3, 4, 5, Number.NaN, 7, 8, ...Array(4).fill(Number.NaN)]);
  const x = { shape: [1, 6, 2, 1], data };
  const { y } = await run((g) => ({
    y: maxPool(constant(g, x, dtype), { window: [2, 2], stride: [2, 2] }),
  }));
  const [first, second, third] = y!;
  expect(first).toBe(4);
  if (device.properties.kind === "cuda") {
    expect([second, third]).toEqual([Number.NaN, Number.NaN]); // as PyTorch
    return;
  }
  // oneDNN passes over NaN, and has no maximum then but the lowest of all numbers.
  expect(second).toBe(8);
  expect(third).toBeLessThan(-3e38);
});

testFamily("global-average-pool", {
  inputs: () => ({ x: "T" }),
  build: (_, { x }) => globalAveragePool(x!),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  finiteDifference: () => ({ step: 1, tolerance: 1e-5 }), // linear
});
