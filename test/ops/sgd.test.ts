// The SGD update against PyTorch (gradient form) and the formulas in double precision (both forms).
import { describe, expect, it } from "vitest";
import { bf16FromFloat32, float32FromBf16 } from "../../lib/graph/graph.js";
import { sgd } from "../../lib/ops/index.js";
import { sgdRows } from "../../lib/ops/optimizers/sgd.js";
import { relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../support/fixtures.js";
import { run } from "../support/op-cases.js";

describe.each(sgdRows)("sgd: $name", (c) => {
  it("four steps in which the rate rises and falls", async () => {
    const fixture = lookup(readFixture("sgd", `${c.name}/`));
    const steps = fixture("schedule").shape[0]!;
    const length = fixture("w").data.length;
    const row = (name: string, step: number, width = length) =>
      fixture(name).data.slice(step * width, (step + 1) * width) as Float32Array;
    let w = fixture("w").data as Float32Array;
    let v: Float32Array = new Float32Array(length);
    for (let step = 0; step < steps; step++) {
      const results = await run((g) =>
        sgd(
          {
            w: g.constant(w, [length]),
            g: g.constant(row("g", step), [length]),
            v: g.constant(v, [length]),
            schedule: g.constant(row("schedule", step, 2), [2]),
          },
          {
            form: c.form,
            nesterov: c.nesterov === 1,
            momentum: c.momentum,
            segments: c.segments.map(([count, decay]) => ({ length: count, decay })),
          },
        ),
      );
      expect(relativeError(results.w!, row("new-w", step))).toBeLessThan(1e-6);
      expect(relativeError(results.v!, row("new-v", step))).toBeLessThan(1e-6);
      expect([...results.finite!]).toEqual([0]);
      w = results.w!;
      v = results.v!;
    }
  });
});

describe("sgd", () => {
  const length = 67;
  const update = (gradient: Float32Array, zero: boolean) =>
    run((g) => {
      const { w, v, ...rest } = sgd(
        {
          w: g.constant(
            Float32Array.from({ length }, (_, i) => i / 7 - 4),
            [length],
          ),
          g: g.constant(gradient, [length]),
          v: g.constant(new Float32Array(length), [length]),
          schedule: g.constant(Float32Array.of(0.1, 1), [2]),
        },
        {
          form: "gradient",
          nesterov: false,
          momentum: 0.9,
          segments: [{ length, decay: 1e-4 }],
          zero,
          copy: true,
        },
      );
      return { w, v, ...rest };
    });

  it("clears the gradient where asked to and copies the new weights to bf16", async () => {
    const gradient = Float32Array.from({ length }, (_, i) => Math.sin(i));
    const { w, g, copy } = await update(gradient, true);
    expect(g!.every((value) => value === 0)).toBe(true);
    expect(copy).toEqual(float32FromBf16(bf16FromFloat32(w!)));
    expect((await update(gradient, false)).g).toBeUndefined();
  });

  it("counts the elements of the gradient that are not finite", async () => {
    const gradient = new Float32Array(length).fill(1);
    gradient[0] = Number.NaN;
    gradient[33] = Number.NEGATIVE_INFINITY;
    gradient[66] = Number.POSITIVE_INFINITY;
    expect([...(await update(gradient, false)).finite!]).toEqual([3]);
  });
});
