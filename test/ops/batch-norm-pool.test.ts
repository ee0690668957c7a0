// Batch normalisation with ReLU and max pooling: in one pass it has the bits of one after the other, and
// synchronised over ranks the gradient of PyTorch's.
import { describe, expect, it } from "vitest";
import { gradient } from "../../lib/graph/autodiff.js";
import { batchNormApply, batchNormInference } from "../../lib/ops/batch-norm.js";
import {
  batchNormApplyMaxPool,
  batchNormInferenceMaxPool,
  batchNormMaxPoolCases,
} from "../../lib/ops/batch-norm-pool.js";
import { batchNorm, maxPool } from "../../lib/ops/index.js";
import { relativeError } from "../../proof/compare.js";
import { lookup, type Reference, readFixture } from "../../proof/ops/fixtures.js";
import { connectAll } from "../support/communicators.js";
import { device } from "../support/device.js";
import { op } from "../support/op-book.js";
import { constant, run } from "../support/run.js";

/**
 * Of 0 and −0, which are equal, each algorithm has another for the greater. On the CPU NaNs alone have no
 * maximum but the lowest of all numbers, which bf16 may round to −∞.
 */
const alike = (values: ArrayLike<number>) =>
  Array.from(values, (value) => (value < -3e38 ? Number.NEGATIVE_INFINITY : value + 0));

describe.each(batchNormMaxPoolCases.rows)("$name", (c) => {
  const fixture = lookup(readFixture("batch-norm-max-pool", `${c.name}/`));
  const { relu, dtype, window, stride, padding } = c;
  const [N = 0, , , C = 0] = c.x;
  const windows = { window, stride, padding };

  it.each(["in training", "in inference", "with NaN"])(
    "has the bits of two passes, %s",
    async (how) => {
      const given = fixture("x");
      const data = Float32Array.from(given.data, (x, i) =>
        how === "with NaN" && (i % 7 === 0 || i % C === 1) ? Number.NaN : x,
      );
      const x: Reference = { shape: given.shape, data };
      const results = await run((g) => {
        const vector = (value: (c: number) => number) =>
          g.constant(
            Float32Array.from({ length: C }, (_, i) => value(i)),
            [C],
          );
        const [mean, spread] = [vector((i) => i / 8 - 1), vector((i) => 1 + (i % 5) / 4)];
        const inputs = {
          x: constant(g, x, dtype),
          gamma: constant(g, fixture("gamma")),
          beta: constant(g, fixture("beta")),
          ...(how === "in inference"
            ? { "running-mean": mean, "running-variance": spread }
            : { mean, "inverse-std": spread }),
        };
        const optional = ["index"];
        const [apart, together] =
          how === "in inference"
            ? [batchNormInference, batchNormInferenceMaxPool]
            : [batchNormApply, batchNormApplyMaxPool];
        const attributes = { relu, epsilon: 1e-5 };
        const { y: image } = g.apply(apart as typeof batchNormApply, inputs, attributes);
        const two = g.apply(op("max-pool"), { x: image }, windows, { optional });
        const one = g.apply(
          together as typeof batchNormInferenceMaxPool,
          inputs,
          { ...attributes, ...windows },
          { optional },
        );
        // As a result it is stored.
        return { image, two: two.y, twoIndex: two.index, one: one.y, oneIndex: one.index };
      });
      expect(alike(results.one!)).toEqual(alike(results.two!));
      if (how !== "with NaN" || device.properties.kind === "cuda")
        expect(results.oneIndex).toEqual(results.twoIndex);
    },
  );

  it.runIf(N % 2 === 0)("synchronised over two ranks", async () => {
    const ranks = await connectAll(2);
    const results = await Promise.all(
      ranks.map((communicator, rank) =>
        run(
          (g) => {
            const part = (name: string) => {
              const { data, shape } = fixture(name);
              const half = data.length / 2;
              const own = (data as Float32Array).slice(rank * half, (rank + 1) * half);
              return g.constant(own, [N / 2, ...shape.slice(1)], dtype);
            };
            const x = part("x");
            const [gamma, beta] = [constant(g, fixture("gamma")), constant(g, fixture("beta"))];
            const image = batchNorm(x, {
              gamma,
              beta,
              runningMean: g.constant(new Float32Array(C), [C]),
              runningVariance: g.constant(new Float32Array(C), [C]),
              relu: relu === 1,
              group: { communicator: "statistics", size: 2 },
            });
            const y = maxPool(image, windows);
            const [dx, dgamma, dbeta] = gradient(g, y, part("dy"), [x, gamma, beta]);
            return { y, dx: dx!, dgamma: dgamma!, dbeta: dbeta! };
          },
          { statistics: communicator },
          rank,
        ),
      ),
    );
    const tolerance = 2 * batchNormMaxPoolCases.tolerance!(c, "y");
    const both = (name: string) => results.flatMap((result) => [...result[name]!]);
    const sum = (name: string) =>
      results[0]![name]!.map((value, i) => value + results[1]![name]![i]!);
    for (const name of ["y", "dx"])
      expect(relativeError(both(name), fixture(name).data), name).toBeLessThan(tolerance);
    for (const name of ["dgamma", "dbeta"])
      expect(relativeError(sum(name), fixture(name).data), name).toBeLessThan(tolerance);
  });
});
