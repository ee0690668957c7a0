// Convolution against PyTorch.
import { describe, expect, it } from "vitest";
import { batchNormStatistics } from "../../lib/ops/batch-norm.js";
import {
  conv2dBackwardWeight,
  conv2dStatistics,
  convCases,
  convolutionAttributes,
} from "../../lib/ops/conv.js";
import { relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { F32_TOLERANCE, toleranceOf } from "../../proof/ops/oracle.js";
import { device } from "../support/device.js";
import { constant, run } from "../support/run.js";

describe.each(convCases.rows)("conv2d instructions: $name", (c) => {
  const fixture = lookup(readFixture("conv", `${c.name}/`));
  const attributes = convolutionAttributes(c);

  it("the filters' gradient is added to what is there", async () => {
    const { shape, data } = fixture("dw");
    const { dw } = await run((g) => {
      const before = g.constant(new Float32Array(data.length).fill(0.5), shape);
      const x = constant(g, fixture("x"), c.dtype);
      const dy = constant(g, fixture("dy"), c.dtype);
      return g.apply(conv2dBackwardWeight, { x, dy, dw: before }, { ...attributes, accumulate: 1 });
    });
    const expected = Float32Array.from(data, (d) => d + 0.5);
    // f32 in every type; bf16 operands are exact in it.
    expect(relativeError(dw!, expected)).toBeLessThan(F32_TOLERANCE);
  });

  it.runIf(device.operations.has("conv2d-statistics"))("statistics of the result", async () => {
    const { y, statistics, separate } = await run((g) => {
      const x = constant(g, fixture("x"), c.dtype);
      const w = constant(g, fixture("w"), c.dtype);
      const both = g.apply(conv2dStatistics, { x, w }, attributes);
      return { ...both, separate: g.apply(batchNormStatistics, { x: both.y }).statistics };
    });
    const tolerance = toleranceOf(c);
    expect(relativeError(y!, fixture("y").data)).toBeLessThan(tolerance);
    expect(relativeError(statistics!, separate!)).toBeLessThan(tolerance);
  });
});
