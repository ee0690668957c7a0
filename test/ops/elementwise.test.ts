// Input normalisation, addition, ReLU, conversion and scaling.
import { describe, expect, it } from "vitest";
import { gradient } from "../../lib/graph/autodiff.js";
import { bf16FromFloat32, float32FromBf16, type Value } from "../../lib/graph/graph.js";
import { add, cast, normalizeInput, relu, scale } from "../../lib/ops/index.js";
import { relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { toleranceOf } from "../../proof/ops/oracle.js";
import { op, rowsOf } from "../support/op-book.js";
import { constant, run } from "../support/run.js";

it.each(rowsOf<{ relu: 0 | 1 }>("add"))("add $name as one instruction", async (c) => {
  const fixture = lookup(readFixture("add", `${c.name}/`));
  const { y } = await run((g) => {
    const a = constant(g, fixture("a"), c.dtype);
    return g.apply(op("add"), { a, b: constant(g, fixture("b"), c.dtype) }, { relu: c.relu });
  });
  const tolerance = toleranceOf(c);
  expect(relativeError(y!, fixture("y").data)).toBeLessThan(tolerance);
});

describe("input normalisation", () => {
  it("pads channels with zeros", async () => {
    const { y } = await run((g) => {
      const x = g.constant(
        Uint8Array.from({ length: 45 }, (_, i) => 5 * i),
        [1, 3, 5, 3],
      );
      return { y: normalizeInput(x, { mean: [0.4, 0.5, 0.6], std: [1, 2, 3], channels: 4 }) };
    });
    expect(y!.length).toBe(60);
    expect(y!.every((value, i) => (value === 0) === (i % 4 === 3))).toBe(true);
  });
});

describe("copy", () => {
  const values = Float32Array.of(
    ...[0, -0, 1, -1.5, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.4e38, 1e-40],
    ...[Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 65504, -1 / 3],
  );

  it("rounds to bf16 to nearest even and keeps what is not finite", async () => {
    const { there, same } = await run((g) => {
      const x = g.constant(values, [values.length]);
      return { there: cast(x, "bf16"), same: cast(x, "f32") };
    });
    expect(there).toEqual(float32FromBf16(bf16FromFloat32(values)));
    expect([...there!.slice(4, 7)]).toEqual([1, 1 + 2 ** -6, 1 + 2 ** -7]);
    expect(same).toEqual(values);
  });
});

describe("scale", () => {
  it("multiplies, and differentiates to the same factor", async () => {
    const data = Float32Array.from({ length: 37 }, (_, i) => i - 18.5);
    const build = (factor: number) => run((g) => ({ y: scale(g.constant(data, [37]), factor) }));
    expect((await build(-0.25)).y).toEqual(data.map((x) => x * -0.25));
    expect((await build(0)).y!.every((y) => Math.abs(y) === 0)).toBe(true);
  });
});

describe("a value that is used twice", () => {
  it("gets the sum of both gradients", async () => {
    const data = Float32Array.of(-2, -1, 1, 2);
    const { dx } = await run((g) => {
      const x: Value = g.constant(data, [4]);
      const y = add(relu(x), scale(x, 3));
      return { dx: gradient(g, y, g.constant(Float32Array.of(1, 1, 1, 1), [4]), [x])[0]! };
    });
    expect(dx).toEqual(Float32Array.of(3, 3, 4, 4));
  });
});
