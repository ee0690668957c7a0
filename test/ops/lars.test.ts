// The updates of LARS against its formula in PyTorch, in double precision.
import { describe, expect, it } from "vitest";
import { larsTrust, norms } from "../../lib/ops/index.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import { larsRows } from "../../lib/ops/optimizers/lars.js";
import { relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../support/fixtures.js";
import { run } from "../support/op-cases.js";

describe.each(larsRows)("lars: $name", ({ name, momentum, decay, tensors: rows }) => {
  it("four steps in which the rate rises and falls", async () => {
    const fixture = lookup(readFixture("lars", `${name}/`));
    const steps = fixture("schedule").shape[0]!;
    const length = fixture("w").data.length;
    const row = (tensor: string, step: number, width = length) =>
      fixture(tensor).data.slice(step * width, (step + 1) * width) as Float32Array;
    const tensors = rows.map(([count, role]) => ({ length: count, role }));
    const optimizer = optimizers.lars({ momentum, weightDecay: decay });
    let w = fixture("w").data as Float32Array;
    let v: Float32Array = new Float32Array(length);
    for (let step = 0; step < steps; step++) {
      const results = await run((g) => {
        const [weights, velocity, gradient] = [w, v, row("g", step)].map((x) =>
          g.constant(x, [length]),
        );
        const lengths = tensors.map((tensor) => tensor.length);
        optimizer.update({
          w: weights!,
          g: gradient!,
          v: velocity!,
          schedule: g.constant(row("schedule", step, 2), [2]),
          tensors,
          norms: norms(weights!, gradient!, lengths),
          writes: { zero: false, copy: false, into: {} },
        });
        return { w: weights!, v: velocity! };
      });
      expect(relativeError(results.w!, row("new-w", step))).toBeLessThan(1e-6);
      expect(relativeError(results.v!, row("new-v", step))).toBeLessThan(1e-6);
      w = results.w!;
      v = results.v!;
    }
  });
});

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
