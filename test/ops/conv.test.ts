// Convolution against PyTorch.
import { describe, expect, it } from "vitest";
import { batchNormStatistics } from "../../lib/ops/batch-norm.js";
import { conv2dBackwardWeight, conv2dStatistics } from "../../lib/ops/conv.js";
import { conv2d } from "../../lib/ops/index.js";
import { relativeError } from "../../lib/verify/compare.js";
import { device } from "../support/device.js";
import { cases, lookup, readFixture } from "../support/fixtures.js";
import { BF16_TOLERANCE, constant, F32_TOLERANCE, run, testFamily } from "../support/op-cases.js";

testFamily("conv", {
  inputs: () => ({ x: "T", w: "T" }),
  build: (_, { x, w }, { stride, padding }) => conv2d(x!, w!, { stride, padding }),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  // Linear in each input: no truncation error, so a large step makes rounding small.
  finiteDifference: () => ({ step: 1, tolerance: 1e-5 }),
});

describe.each(cases.conv)("conv2d instructions: $name", (c) => {
  const fixture = lookup(readFixture("conv", `${c.name}/`));
  const { stride, padding } = c;

  it("the filters' gradient is added to what is there", async () => {
    const { shape, data } = fixture("dw");
    const { dw } = await run((g) => {
      const before = g.constant(new Float32Array(data.length).fill(0.5), shape);
      const x = constant(g, fixture("x"), c.dtype);
      const dy = constant(g, fixture("dy"), c.dtype);
      const attributes = { stride, padding, accumulate: 1 };
      return g.apply(conv2dBackwardWeight, { x, dy, dw: before }, attributes);
    });
    const expected = Float32Array.from(data, (d) => d + 0.5);
    // f32 in every type; bf16 operands are exact in it.
    expect(relativeError(dw!, expected)).toBeLessThan(F32_TOLERANCE);
  });

  it.runIf(device.operations.has("conv2d-statistics"))("statistics of the result", async () => {
    const { y, statistics, separate } = await run((g) => {
      const x = constant(g, fixture("x"), c.dtype);
      const w = constant(g, fixture("w"), c.dtype);
      const both = g.apply(conv2dStatistics, { x, w }, { stride, padding });
      return { ...both, separate: g.apply(batchNormStatistics, { x: both.y }).statistics };
    });
    const tolerance = c.dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE;
    expect(relativeError(y!, fixture("y").data)).toBeLessThan(tolerance);
    expect(relativeError(statistics!, separate!)).toBeLessThan(tolerance);
  });
});
