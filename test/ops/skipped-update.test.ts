// A skipped step of fp16 with each optimizer: the weights stay, the momentum changes by its factor alone.
import { expect, test } from "vitest";
import { clipNorm, lossScale, norms } from "../../lib/ops/index.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import { run } from "../support/run.js";

const rows = Object.keys(optimizers).flatMap((name) =>
  [Number.NaN, Number.POSITIVE_INFINITY].map((bad) => [name, bad] as const),
);

test.each(rows)("%s skips a gradient that holds %s", async (name, bad) => {
  const w = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i + 1));
  const v = w.map((x) => x / 7);
  const g = w.map((x) => x * 3);
  g.set([bad, -bad], 5);
  const result = await run((graph) => {
    const constant = (data: Float32Array) => graph.constant(data, [data.length]);
    const weights = constant(w);
    const gradient = constant(g);
    const momentum = constant(v);
    const taken = norms(weights, gradient, [32, 32]);
    const scaled = lossScale(taken, constant(Float32Array.of(2 ** 16, 3, 0)));
    clipNorm(gradient, scaled.norms, 1);
    optimizers[name as keyof typeof optimizers]({ momentumForm: "velocity" }).update({
      ...{ w: weights, g: gradient, v: momentum, norms: scaled.norms },
      schedule: constant(Float32Array.of(0.5, 2)),
      tensors: [
        { length: 32, role: "convolution" },
        { length: 32, role: "bias" },
      ],
      writes: { zero: true, factor: scaled.factor, into: {} },
    });
    return { w: weights, g: gradient, v: momentum, factor: scaled.factor };
  });
  expect([...result.factor!]).toEqual([0]);
  expect(result.w).toEqual(w);
  expect(result.v).toEqual(v.map((x) => x * 2));
  expect(result.g!.every((x) => x === 0)).toBe(true);
});
