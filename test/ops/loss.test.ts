// Softmax cross-entropy against PyTorch, and what it counts.
import { describe, expect, it } from "vitest";
import { gradient } from "../../lib/graph/autodiff.js";
import { softmaxCrossEntropy } from "../../lib/ops/index.js";
import {
  lossRows,
  softmaxCrossEntropyBackward,
  softmaxCrossEntropyOp,
} from "../../lib/ops/loss.js";
import { dot, norm, relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../support/fixtures.js";
import { BF16_TOLERANCE, constant, run, sign } from "../support/op-cases.js";

/** exp and log of f32, and logits up to 1000 whose ulp is 6e-5. */
const TOLERANCE = { probabilities: 1e-5, loss: 1e-5 };

describe.each(lossRows)("softmax-cross-entropy: $name", (c) => {
  const fixture = lookup(readFixture("loss", `${c.name}/`));
  const { smoothing, scale } = c;

  it("metrics, probabilities and gradient", async () => {
    const { metrics, probabilities, dlogits } = await run((g) => {
      const logits = constant(g, fixture("logits"));
      const labels = constant(g, fixture("labels"));
      const result = softmaxCrossEntropy(logits, labels, { smoothing, scale });
      const [d] =
        c.dtype === "f32"
          ? gradient(g, result.metrics, undefined, [logits])
          : [
              g.apply(
                softmaxCrossEntropyBackward,
                { probabilities: result.probabilities, labels },
                { smoothing, scale },
                { types: { T: c.dtype } },
              ).dlogits,
            ];
      return { ...result, dlogits: d! };
    });
    const expected = fixture("metrics").data;
    expect(Math.abs(metrics![0]! - expected[0]!)).toBeLessThan(
      TOLERANCE.loss * (Math.abs(expected[0]!) || 1),
    );
    expect([...metrics!.slice(1)]).toEqual([...expected.slice(1)]);
    expect(relativeError(probabilities!, fixture("probabilities").data)).toBeLessThan(
      TOLERANCE.probabilities,
    );
    expect(relativeError(dlogits!, fixture("dlogits").data)).toBeLessThan(
      c.dtype === "bf16" ? BF16_TOLERANCE : TOLERANCE.probabilities,
    );
  });

  // Rounding of the loss is 6e-8 of it, divided by a step of 1/64: some 1e-5. Truncation is a sixth
  // of the step's square times the third derivative, some 1e-5 too. Logits of 1000 are left out:
  // there the loss is piecewise linear and a step may cross a kink.
  it.skipIf(c.name === "huge logits")("gradient against a finite difference", async () => {
    const step = 1 / 64;
    const { data, shape } = fixture("logits");
    const signs = Array.from(data, (_, i) => sign(i));
    const at = async (by: number) => {
      const { metrics } = await run((g) => {
        const logits = g.constant(
          Float32Array.from(data, (x, i) => x + by * signs[i]!),
          shape,
        );
        return {
          metrics: softmaxCrossEntropy(logits, constant(g, fixture("labels")), {
            smoothing,
            scale,
          }).metrics,
        };
      });
      return metrics![0]!;
    };
    const d = fixture("dlogits").data;
    const measured = ((await at(step)) - (await at(-step))) / (2 * step);
    expect(Math.abs(measured - dot(d, signs))).toBeLessThanOrEqual(1e-3 * norm(d));
  });
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
        softmaxCrossEntropyOp,
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
