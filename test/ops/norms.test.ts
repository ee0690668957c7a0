// Norms of tensors: threads, numbers that are not finite, and what clipping leaves alone.
import { describe, expect, it } from "vitest";
import { openBackend } from "../../lib/device/open.js";
import { evaluate } from "../../lib/graph/evaluate.js";
import type { Graph } from "../../lib/graph/graph.js";
import { clipNorm, norms } from "../../lib/ops/index.js";
import { run } from "../support/run.js";

const sum = (lengths: readonly number[]) => lengths.reduce((a, b) => a + b, 0);

describe("norms", () => {
  const lengths = [30_000, 1, 50_000];
  const numbers = (seed: number) =>
    Float32Array.from({ length: sum(lengths) }, (_, i) => Math.fround(Math.sin(seed + i * i)));

  it("have the same bits for any number of threads", async () => {
    const results: unknown[] = [];
    for (const threads of [1, 2, 5]) {
      using device = openBackend("cpu", threads);
      const rows = await evaluate(device, (g) => {
        const [w, gradient] = [numbers(1), numbers(2)].map((x) => g.constant(x, [x.length]));
        return norms(w!, gradient!, lengths);
      });
      results.push(rows);
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  it("count what is not finite, and such a gradient is not clipped", async () => {
    const gradient = numbers(1);
    gradient[3] = Number.NaN;
    gradient[30_000] = Number.POSITIVE_INFINITY;
    gradient[79_999] = Number.NEGATIVE_INFINITY;
    const { g, norms: rows } = await run((graph) => {
      const w = graph.constant(numbers(2), [gradient.length]);
      const value = graph.constant(gradient, [gradient.length]);
      return { ...clipNorm(value, norms(w, value, lengths), 1e-3) };
    });
    expect([2, 5, 8].map((i) => rows![i])).toEqual([1, 1, 1]);
    expect(g).toEqual(gradient);
  });

  it("leave a gradient within the limit as it is", async () => {
    const gradient = numbers(1);
    const { g } = await run((graph) => {
      const w = graph.constant(numbers(2), [gradient.length]);
      const value = graph.constant(gradient, [gradient.length]);
      return { ...clipNorm(value, norms(w, value, lengths), 1e6) };
    });
    expect(g).toEqual(gradient);
  });

  it("refuse lengths that are not the tensors'", async () => {
    const build = (g: Graph) => {
      const x = g.constant(new Float32Array(5), [5]);
      return norms(x, x, [2, 2]);
    };
    await expect(run((g) => ({ rows: build(g) }))).rejects.toThrow(/lengths of 5 elements in all/);
  });
});
