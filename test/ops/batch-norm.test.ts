// Compares batch normalisation to PyTorch: fused or not, in parts, with the operands that fusion
// adds.
import { describe, expect, it } from "vitest";
import { gradient } from "../../lib/graph/autodiff.js";
import type { Graph, Value } from "../../lib/graph/graph.js";
import {
  batchNormApply,
  batchNormBackward,
  batchNormCases,
  batchNormFinalize,
  batchNormInference,
  batchNormMoments,
  batchNormReduce,
  batchNormStatistics,
} from "../../lib/ops/batch-norm.js";
import { batchNorm } from "../../lib/ops/index.js";
import { relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { connectAll } from "../support/communicators.js";
import { device } from "../support/device.js";
import { constant, type Results, run } from "../support/run.js";

const tolerance = (row: (typeof batchNormCases.rows)[number]) =>
  batchNormCases.tolerance!(row, "y");

/** Zeros and ones for running statistics that the test ignores. */
function unused(g: Graph, channels: number) {
  return {
    runningMean: g.constant(new Float32Array(channels), [channels]),
    runningVariance: g.constant(new Float32Array(channels).fill(1), [channels]),
  };
}

describe.each(batchNormCases.rows)("batch-norm instructions: $name", (c) => {
  const fixture = lookup(readFixture("batch-norm", `${c.name}/`));
  const [N = 0, H = 0, W = 0, C = 0] = c.x;
  const { relu } = c;
  const f32 = (g: Graph, name: string) => constant(g, fixture(name));
  const typed = (g: Graph, name: string) => constant(g, fixture(name), c.dtype);
  const optional = (g: Graph, name: string) => (c.residual ? { residual: typed(g, name) } : {});
  const expectClose = (results: Results, references: Record<string, string>, scale = 1) => {
    for (const [name, reference] of Object.entries(references)) {
      const error = relativeError(results[name]!, fixture(reference).data);
      expect(error, name).toBeLessThan(scale * tolerance(c));
    }
  };

  it("merges the statistics of unequal parts to those of the whole", async () => {
    // Parts of 1, 2, … images, as ranks of a group would have; the last takes the rest.
    const pixels = H * W * C;
    const bounds = [0, 1, ...(N > 2 ? [Math.min(3, N - 1)] : []), N];
    const rows: Float32Array[] = [];
    for (let i = 0; i + 1 < bounds.length; i++) {
      const [from, to] = [bounds[i]!, bounds[i + 1]!];
      const part = (fixture("x").data as Float32Array).slice(from * pixels, to * pixels);
      const { statistics } = await run((g) =>
        g.apply(batchNormStatistics, { x: g.constant(part, [to - from, H, W, C], c.dtype) }),
      );
      expect(statistics!.length).toBe(2 * C + 1);
      expect(statistics![2 * C]).toBe((to - from) * H * W);
      rows.push(statistics!);
    }
    const gathered = Float32Array.from(rows.flatMap((row) => [...row]));
    const results = await run((g) =>
      g.apply(
        batchNormFinalize,
        {
          statistics: g.constant(gathered, [rows.length, 2 * C + 1]),
          "running-mean": f32(g, "running-mean"),
          "running-variance": f32(g, "running-variance"),
        },
        { epsilon: 1e-5, decay: 0.9, gain: 0.1 },
      ),
    );
    // The parts' means are rounded to f32 each.
    expectClose(
      results,
      {
        mean: "mean",
        "inverse-std": "inverse-std",
        "running-mean": "new-running-mean",
        "running-variance": "new-running-variance",
      },
      2,
    );
  });

  it("micro-batches update the running statistics as decay and gain say", async () => {
    const start = fixture("running-mean").data;
    const results = await run((g) =>
      g.apply(
        batchNormFinalize,
        {
          statistics: g.apply(batchNormStatistics, { x: typed(g, "x") }).statistics,
          "running-mean": f32(g, "running-mean"),
          "running-variance": f32(g, "running-variance"),
        },
        { epsilon: 1e-5, decay: 1, gain: 0.25 },
      ),
    );
    const expected = start.map((s, i) => s + 0.25 * fixture("mean").data[i]!);
    expect(relativeError(results["running-mean"]!, expected)).toBeLessThan(tolerance(c));
  });

  it.runIf(device.operations.has(batchNormMoments.name))("finalizes as two ops do", async () => {
    const results = await run((g) => {
      const running = {
        "running-mean": f32(g, "running-mean"),
        "running-variance": f32(g, "running-variance"),
      };
      const attributes = { epsilon: 1e-5, decay: 0.9, gain: 0.1 };
      const together = g.apply(batchNormMoments, { x: typed(g, "x"), ...running }, attributes);
      const { statistics } = together;
      const copies = {
        "running-mean": f32(g, "running-mean"),
        "running-variance": f32(g, "running-variance"),
      };
      const apart = g.apply(batchNormFinalize, { statistics, ...copies }, attributes);
      const named = Object.entries(apart).map(([name, value]) => [`apart ${name}`, value]);
      return { ...together, ...Object.fromEntries(named) };
    });
    for (const name of ["mean", "inverse-std", "running-mean", "running-variance"])
      expect(results[name], name).toEqual(results[`apart ${name}`]);
    expectClose(results, { mean: "mean", "running-variance": "new-running-variance" });
  });

  it("apply, reduce and backward with the mask recomputed or from y", async () => {
    const residual = c.residual === 1;
    const results = await run((g) => {
      const x = typed(g, "x");
      const dy = typed(g, "dy");
      const [gamma, beta] = [f32(g, "gamma"), f32(g, "beta")];
      const normal = { mean: f32(g, "mean"), "inverse-std": f32(g, "inverse-std") };
      const { y } = g.apply(
        batchNormApply,
        { x, ...normal, gamma, beta, ...optional(g, "residual") },
        { relu },
      );
      // Two halves of dy arrive by two ways; both are exact in every type.
      const half = constant(
        g,
        { ...fixture("dy"), data: fixture("dy").data.map((d) => d / 2) as Float32Array },
        c.dtype,
      );
      const before = g.constant(new Float32Array(C).fill(2), [C]);
      const split = g.apply(
        batchNormReduce,
        {
          dy: half,
          dy2: half,
          x,
          ...normal,
          gamma,
          beta,
          ...(residual ? { y } : {}),
          dgamma: before,
          dbeta: g.constant(new Float32Array(C).fill(-3), [C]),
        },
        { relu, accumulate: 1 },
        { optional: ["dz"] },
      );
      const dx = (dz: Value, masked: number) =>
        g.apply(
          batchNormBackward,
          { dz, x, ...normal, gamma, ...(masked ? { beta } : {}), sums: split.sums },
          { relu: masked, count: N * H * W },
        ).dx;
      const dxs: Record<string, Value> = {
        "from dz": dx(split.dz, 0),
        ...(relu && !residual ? { "from dy": dx(dy, 1) } : {}),
      };
      const { dz, sums, dgamma, dbeta } = split;
      return { y, dz, sums, dgamma, dbeta, ...dxs };
    });
    expectClose(results, { y: "y", "from dz": "dx" });
    if (results["from dy"]) expectClose(results, { "from dy": "dx" });
    if (residual) expectClose(results, { dz: "dresidual" });
    const [dgamma, dbeta] = [fixture("dgamma").data, fixture("dbeta").data];
    const sums = results.sums!;
    expect(relativeError(sums.slice(0, C), dbeta)).toBeLessThan(tolerance(c));
    expect(relativeError(sums.slice(C), dgamma)).toBeLessThan(tolerance(c));
    const added = (d: ArrayLike<number>, by: number) => Array.from(d, (value) => value + by);
    expect(relativeError(results.dgamma!, added(dgamma, 2))).toBeLessThan(tolerance(c));
    expect(relativeError(results.dbeta!, added(dbeta, -3))).toBeLessThan(tolerance(c));
  });

  it("inference", async () => {
    const results = await run((g) =>
      g.apply(
        batchNormInference,
        {
          x: typed(g, "x"),
          "running-mean": f32(g, "running-mean"),
          "running-variance": f32(g, "running-variance"),
          gamma: f32(g, "gamma"),
          beta: f32(g, "beta"),
          ...optional(g, "residual"),
        },
        { relu, epsilon: 1e-5 },
      ),
    );
    expectClose(results, { y: "inference" });
  });

  // Two ranks in one process, each with a part of the images.
  it.runIf(N % 2 === 0)("synchronised over two ranks", async () => {
    const ranks = await connectAll(2);
    const half = (fixture("x").data.length / 2) | 0;
    const results = await Promise.all(
      ranks.map((communicator, rank) =>
        run(
          (g) => {
            const part = (name: string) =>
              g.constant(
                (fixture(name).data as Float32Array).slice(rank * half, (rank + 1) * half),
                [N / 2, H, W, C],
                c.dtype,
              );
            const x = part("x");
            const [gamma, beta] = [f32(g, "gamma"), f32(g, "beta")];
            const runningMean = f32(g, "running-mean");
            const runningVariance = f32(g, "running-variance");
            const y = batchNorm(x, {
              gamma,
              beta,
              runningMean,
              runningVariance,
              residual: c.residual ? part("residual") : undefined,
              relu: relu === 1,
              group: { communicator: "statistics", size: 2 },
            });
            const [dx, dgamma, dbeta] = gradient(g, y, part("dy"), [x, gamma, beta]);
            return { y, dx: dx!, dgamma: dgamma!, dbeta: dbeta! };
          },
          { statistics: communicator },
          rank,
        ),
      ),
    );
    const both = (name: string) => results.flatMap((result) => [...result[name]!]);
    const sum = (name: string) =>
      results[0]![name]!.map((value, i) => value + results[1]![name]![i]!);
    for (const name of ["y", "dx"])
      expect(relativeError(both(name), fixture(name).data), name).toBeLessThan(2 * tolerance(c));
    // γ's and β's gradients stay local until the buckets are summed.
    for (const name of ["dgamma", "dbeta"])
      expect(relativeError(sum(name), fixture(name).data), name).toBeLessThan(2 * tolerance(c));
  });
});

describe("batch-norm", () => {
  // y is x·2⁻²⁴ or less: of x's positive values some are stored as zero, 0.5·2⁻²⁴ among them.
  it.each(["f32", "f16"] as const)("recomputes the mask of the stored y in %s", async (dtype) => {
    const [C, shape] = [8, [2, 4, 4, 8]];
    const x = Float32Array.from({ length: 256 }, (_, i) => ((i * 37) % 17) / 4 - 2);
    const dy = Float32Array.from({ length: 256 }, (_, i) => 1 + (i % 5));
    const results = await run((g) => {
      const fill = (value: number) => g.constant(new Float32Array(C).fill(value), [C]);
      const gamma = g.constant(
        Float32Array.from({ length: C }, (_, c) => (c < 4 ? 2 ** -24 : 1e-8)),
        [C],
      );
      const normal = { mean: fill(0), "inverse-std": fill(1), gamma };
      const beta = fill(0);
      const tensors = { x: g.constant(x, shape, dtype), dy: g.constant(dy, shape, dtype) };
      const y = g.apply(batchNormApply, { x: tensors.x, ...normal, beta }, { relu: 1 }).y;
      const reduce = (from: object) =>
        g.apply(
          batchNormReduce,
          { ...tensors, ...normal, beta, ...from },
          { relu: 1 },
          { optional: ["dz"] },
        );
      const [stored, recomputed] = [reduce({ y }), reduce({})];
      const attributes = { count: 32 };
      const common = { x: tensors.x, ...normal, sums: stored.sums };
      const dx = {
        stored: g.apply(
          batchNormBackward,
          { dz: stored.dz, ...common },
          { ...attributes, relu: 0 },
        ),
        recomputed: g.apply(
          batchNormBackward,
          { dz: tensors.dy, ...common, beta },
          { ...attributes, relu: 1 },
        ),
      };
      return {
        y,
        ...{ dz: stored.dz, dbeta: stored.dbeta, dgamma: stored.dgamma, dx: dx.stored.dx },
        ...{ "dz again": recomputed.dz, "dbeta again": recomputed.dbeta },
        ...{ "dgamma again": recomputed.dgamma, "dx again": dx.recomputed.dx },
      };
    });
    for (const name of ["dz", "dbeta", "dgamma", "dx"])
      expect(results[`${name} again`], name).toEqual(results[name]);
    // γ = 1e-8 leaves nothing of y in f16.
    expect(results.dbeta!.slice(4).every((sum) => sum === 0)).toBe(dtype === "f16");
    expect(results.dbeta!.slice(0, 4).every((sum) => sum > 0)).toBe(true);
  });

  it("gives β, not NaN, for a channel that is constant", async () => {
    const { y } = await run((g) => ({
      y: batchNorm(g.constant(new Float32Array(2 * 3 * 3).fill(7.25), [2, 3, 3, 1]), {
        gamma: g.constant(Float32Array.of(2), [1]),
        beta: g.constant(Float32Array.of(0.5), [1]),
        ...unused(g, 1),
      }),
    }));
    expect(y!.every((value) => value === 0.5)).toBe(true);
  });
});
