// Compares max pooling and global average pooling to PyTorch's.
import { expect, it } from "vitest";
import { maxPool } from "../../lib/ops/index.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { device } from "../support/device.js";
import { op, rowsOf } from "../support/op-book.js";
import { constant, run } from "../support/run.js";

const rows = rowsOf<Record<"window" | "stride" | "padding", readonly [number, number]>>("max-pool");

it.each(rows)("max-pool without index: $name", async (c) => {
  const fixture = lookup(readFixture("max-pool", `${c.name}/`));
  const { window, stride, padding } = c;
  const { y } = await run((g) =>
    g.apply(op("max-pool"), { x: constant(g, fixture("x"), c.dtype) }, { window, stride, padding }),
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
