// The factors of LARS on the rate, where norms are zero or not finite and where the loss was scaled.
import { describe, expect, it } from "vitest";
import { sgd } from "../../lib/ops/index.js";
import { run } from "../support/run.js";

describe("the factor on the rate", () => {
  // With w = 0, a rate of 1 and no momentum before, v becomes the factor times the gradient.
  const ratios = async (
    rows: number[][],
    tensors: { decay: number; adapts: boolean }[],
    [gradient, factor]: [number, number?] = [1],
  ) => {
    const { length } = rows;
    const { v } = await run((graph) => {
      const constant = (data: readonly number[], shape = [data.length]) =>
        graph.constant(Float32Array.from(data), shape);
      const zeros = Array<number>(length).fill(0);
      const written = sgd(
        {
          ...{ w: constant(zeros), g: constant(zeros.map(() => gradient)), v: constant(zeros) },
          ...{ schedule: constant([1, 1]), norms: constant(rows.flat(), [length, 3]) },
        },
        {
          ...{ form: "velocity", nesterov: false, momentum: 0.9, coefficient: 0.001 },
          segments: tensors.map((tensor) => ({ length: 1, ...tensor })),
          factor: factor === undefined ? undefined : constant([factor]),
        },
      );
      return { w: written.w, v: written.v };
    });
    return [...v!];
  };
  const adapting = { decay: 0.5, adapts: true };
  const ratio = (0.001 * 2) / (3 + 0.5 * 2);

  it("is c‖w‖ / (‖g‖ + λ‖w‖), and 1 where a norm is 0 or the tensor keeps the plain rate", async () => {
    const tensors = [adapting, adapting, adapting, { decay: 0, adapts: false }];
    const rows = [
      [4, 9, 0],
      [0, 9, 0],
      [4, 0, 0],
      [4, 9, 0],
    ];
    expect(await ratios(rows, tensors)).toEqual([Math.fround(ratio), 1, 1, 1]);
  });

  it("is 1 for a gradient that is not finite, so that it spoils no other tensor's", async () => {
    expect(await ratios([[4, Number.NaN, 1]], [adapting])).toEqual([1]);
  });

  it("follows the norms as they are given, those of the gradient before it was scaled", async () => {
    expect(await ratios([[4, 9, 0]], [adapting], [1024, 2 ** -10])).toEqual([Math.fround(ratio)]);
    expect(await ratios([[4, Number.NaN, 1]], [adapting], [1024, 0])).toEqual([0]);
  });
});
