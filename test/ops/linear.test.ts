// Compares the fully connected layer to PyTorch's.
import { expect, it } from "vitest";
import { linearBackwardWeight, linearCases } from "../../lib/ops/linear.js";
import { relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { F32_TOLERANCE } from "../../proof/ops/oracle.js";
import { constant, run } from "../support/run.js";

it.each(linearCases.rows)("$name: gradients are added to what is there", async (c) => {
  const fixture = lookup(readFixture("linear", `${c.name}/`));
  const results = await run((g) => {
    const filled = (name: string) => {
      const { shape, data } = fixture(name);
      return g.constant(new Float32Array(data.length).fill(0.5), shape);
    };
    const x = constant(g, fixture("x"), c.dtype);
    const dy = constant(g, fixture("dy"), c.dtype);
    const into = { dw: filled("dw"), db: filled("db") };
    return g.apply(linearBackwardWeight, { x, dy, ...into }, { accumulate: 1 });
  });
  for (const name of ["dw", "db"]) {
    const expected = Float32Array.from(fixture(name).data, (d) => d + 0.5);
    expect(relativeError(results[name]!, expected), name).toBeLessThan(F32_TOLERANCE);
  }
});
