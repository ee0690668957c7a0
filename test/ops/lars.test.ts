// The trust ratios of LARS where norms are zero or not finite.
import { describe, expect, it } from "vitest";
import { larsTrust } from "../../lib/ops/optimizers/lars.js";
import { run } from "../support/run.js";

describe("the trust ratio", () => {
  const trustOf = async (rows: number[][], tensors: { decay: number; adapts: boolean }[]) => {
    const { trust } = await run((g) => {
      const values = g.constant(Float32Array.from(rows.flat()), [rows.length, 3]);
      return { trust: larsTrust(values, { coefficient: 0.001, tensors }) };
    });
    return [...trust!];
  };
  const adapting = { decay: 0.5, adapts: true };

  it("is c‖w‖ / (‖g‖ + λ‖w‖), and 1 where a norm is 0 or the tensor keeps the plain rate", async () => {
    const tensors = [adapting, adapting, adapting, { decay: 0, adapts: false }];
    const rows = [
      [4, 9, 0],
      [0, 9, 0],
      [4, 0, 0],
      [4, 9, 0],
    ];
    const trust = await trustOf(rows, tensors);
    expect(trust[0]).toBeCloseTo((0.001 * 2) / (3 + 0.5 * 2), 9);
    expect(trust.slice(1)).toEqual([1, 1, 1]);
  });

  it("is 1 for a gradient that is not finite, so that it spoils no other tensor's", async () => {
    expect(await trustOf([[4, Number.NaN, 1]], [adapting])).toEqual([1]);
  });
});
