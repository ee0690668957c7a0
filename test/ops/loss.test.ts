// Checks the gradient rule of softmax cross-entropy, and its counts of correct images.
import { describe, expect, it } from "vitest";
import { gradient } from "../../lib/graph/autodiff.js";
import { softmaxCrossEntropy } from "../../lib/ops/index.js";
import { dot, norm, relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { sign } from "../../proof/ops/oracle.js";
import { op, rowsOf } from "../support/op-book.js";
import { constant, run } from "../support/run.js";

// Rounding of the loss is 6e-8 of it, divided by a step of 1/64: some 1e-5. Truncation is a sixth
// of the step's square times the third derivative, some 1e-5 too. Logits of 1000 are left out:
// there the loss is piecewise linear and a step may cross a kink.
const smooth = rowsOf<{ smoothing: number; scale: number }>("loss").filter(
  ({ name }) => name !== "huge logits",
);

it.each(smooth)("the gradient rule against a finite difference: $name", async (c) => {
  const fixture = lookup(readFixture("loss", `${c.name}/`));
  const step = 1 / 64;
  const { data, shape } = fixture("logits");
  const signs = Array.from(data, (_, i) => sign(i));
  const at = (by: number) =>
    run((g) => {
      const moved = Float32Array.from(data, (x, i) => x + by * signs[i]!);
      const logits = g.constant(moved, shape);
      const { metrics } = softmaxCrossEntropy(logits, constant(g, fixture("labels")), c);
      return { metrics, d: gradient(g, metrics, undefined, [logits])[0]! };
    });
  const lossAt = async (by: number) => (await at(by)).metrics![0]!;
  const { d } = await at(0);
  const measured = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
  expect(Math.abs(measured - dot(d!, signs))).toBeLessThanOrEqual(1e-3 * norm(d!));
  if (c.dtype === "f32") expect(relativeError(d!, fixture("dlogits").data)).toBeLessThan(1e-5);
});

describe("softmax-cross-entropy", () => {
  const metricsOf = async (rows: number[][], labels: number[]) => {
    const { metrics } = await run((g) => ({
      metrics: softmaxCrossEntropy(
        g.constant(Float32Array.from(rows.flat()), [rows.length, rows[0]!.length]),
        g.constant(Int32Array.from(labels), [labels.length]),
      ).metrics,
    }));
    return [...metrics!];
  };

  it("has a NaN loss for a NaN logit, which is never correct and ranks above all numbers", async () => {
    const nan = Number.NaN;
    const rows = [
      [nan, 1, 2, 3, 4, 5], // the largest number is second
      [nan, nan, nan, nan, nan, nan],
      [nan, nan, nan, nan, nan, 9], // five NaNs before it
      [9, 0, 0, 0, 0, 0],
    ];
    const [loss, top1, top5, count] = await metricsOf(rows, [5, 0, 5, 0]);
    expect(loss).toBeNaN();
    expect([top1, top5, count]).toEqual([1, 2, 4]);
  });

  it("ignores a NaN in an image that does not count", async () => {
    const [loss, ...counts] = await metricsOf(
      [
        [Number.NaN, 1],
        [0, 0],
      ],
      [-1, 1],
    );
    expect(loss).toBeCloseTo(Math.log(2), 6);
    expect(counts).toEqual([0, 1, 1]);
  });

  it("adds to the metrics of earlier micro-batches", async () => {
    const { metrics } = await run((g) =>
      g.apply(
        op("softmax-cross-entropy"),
        {
          logits: g.constant(Float32Array.of(0, 0, 3, 3), [2, 2]),
          labels: g.constant(Int32Array.of(0, 1), [2]),
          metrics: g.constant(Float32Array.of(10, 20, 30, 40), [4]),
        },
        { smoothing: 0, scale: 0.5, accumulate: 1 },
      ),
    );
    expect(metrics![0]).toBeCloseTo(10 + Math.log(2), 5);
    expect([...metrics!.slice(1)]).toEqual([21, 32, 42]);
  });

  it("ranks equal logits by their index", async () => {
    const equal = [1, 1, 1, 1, 1, 1, 1];
    expect((await metricsOf([equal], [0])).slice(1)).toEqual([1, 1, 1]);
    expect((await metricsOf([equal], [4])).slice(1)).toEqual([0, 1, 1]);
    expect((await metricsOf([equal], [5])).slice(1)).toEqual([0, 0, 1]);
  });
});
