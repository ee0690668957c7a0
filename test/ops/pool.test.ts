// Max pooling and global average pooling against PyTorch.
import { expect, it } from "vitest";
import { globalAveragePool, maxPool } from "../../lib/ops/index.js";
import { maxPoolOp } from "../../lib/ops/pool.js";
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
  expect(y).toEqual(fixture("y").data); // exact in every type
});

testFamily("global-average-pool", {
  inputs: () => ({ x: "T" }),
  build: (_, { x }) => globalAveragePool(x!),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  finiteDifference: () => ({ step: 1, tolerance: 1e-5 }), // linear
});
