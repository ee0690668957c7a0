// The fully connected layer against PyTorch.
import { expect, it } from "vitest";
import { linear } from "../../lib/ops/index.js";
import { linearBackwardWeight } from "../../lib/ops/linear.js";
import { relativeError } from "../../lib/verify/compare.js";
import { cases, lookup, readFixture } from "../support/fixtures.js";
import { BF16_TOLERANCE, constant, F32_TOLERANCE, run, testFamily } from "../support/op-cases.js";

testFamily("linear", {
  inputs: () => ({ x: "T", w: "T", b: "f32" }),
  build: (_, { x, w, b }) => linear(x!, w!, b!),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  finiteDifference: () => ({ step: 1, tolerance: 1e-5 }), // linear in each input
});

it.each(cases.linear)("$name: gradients are added to what is there", async (c) => {
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
