// Compares convolutions to PyTorch's.
import { describe, expect, it } from "vitest";
import { openBackend } from "../../lib/device/open.js";
import { gradient } from "../../lib/graph/autodiff.js";
import { evaluate } from "../../lib/graph/evaluate.js";
import { batchNormStatistics } from "../../lib/ops/batch-norm.js";
import {
  conv2d,
  conv2dMoments,
  conv2dStatistics,
  convCases,
  convolutionAttributes,
} from "../../lib/ops/conv.js";
import { relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { toleranceOf } from "../../proof/ops/oracle.js";
import { device } from "../support/device.js";
import { constant, run } from "../support/run.js";

describe.each(convCases.rows)("conv2d instructions: $name", (c) => {
  const fixture = lookup(readFixture("conv", `${c.name}/`));
  const attributes = convolutionAttributes(c);

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

  it.runIf(device.operations.has("conv2d-moments"))("moments of the result", async () => {
    const { y, mean, separate } = await run((g) => {
      const x = constant(g, fixture("x"), c.dtype);
      const w = constant(g, fixture("w"), c.dtype);
      const vector = () => g.constant(new Float32Array(c.filters), [c.filters]);
      const running = { "running-mean": vector(), "running-variance": vector() };
      const more = { epsilon: 1e-5, decay: 0.9, gain: 0.1 };
      const both = g.apply(conv2dMoments, { x, w, ...running }, { ...attributes, ...more });
      return { ...both, separate: g.apply(batchNormStatistics, { x: both.y }).statistics };
    });
    const tolerance = toleranceOf(c);
    expect(relativeError(y!, fixture("y").data)).toBeLessThan(tolerance);
    expect(relativeError(mean!, separate!.slice(0, c.filters))).toBeLessThan(tolerance);
  });
});

it("a convolution and its gradient by the images have the same bits for any number of threads", async () => {
  const [c] = convCases.rows.filter(({ name }) => name === "3x3 of 32 channels, odd sizes");
  const fixture = lookup(readFixture("conv", `${c!.name}/`));
  const results: unknown[] = [];
  for (const threads of [1, 3]) {
    using cpu = openBackend("cpu", threads);
    results.push(
      await evaluate(cpu, (g) => {
        const [x, w, dy] = ["x", "w", "dy"].map((name) => constant(g, fixture(name)));
        const y = conv2d(x!, w!, { padding: 1 });
        return { y, dx: gradient(g, y, dy!, [x!])[0]! };
      }),
    );
  }
  expect(results[1]).toEqual(results[0]);
});
