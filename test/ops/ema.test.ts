// The moving average's rule, step by step: the first update copies, and what is skipped does not count.
import { expect, it } from "vitest";
import { emaWeight } from "../../lib/ops/ema.js";
import { lerp } from "../../lib/ops/index.js";
import { run } from "../support/run.js";

/** The average and its count after one step. */
async function step(
  { average, updates }: { average: number[]; updates: number },
  { weights, rate, factor }: { weights: number[]; rate: number; factor?: number },
) {
  const results = await run((graph) => {
    const constant = (...values: number[]) =>
      graph.constant(Float32Array.from(values), [values.length]);
    const scaled = factor === undefined ? undefined : constant(factor);
    const moved = emaWeight(constant(rate), constant(updates), scaled);
    const y = lerp(constant(...average), constant(...weights), moved.weight);
    return { y, updates: moved.updates };
  });
  return { average: [...results.y!], updates: results.updates![0]! };
}

it("waits for a step that is taken, copies, then averages", async () => {
  const weights = [1, -3];
  let state = { average: [8, 8], updates: 0 };
  state = await step(state, { weights: [Number.NaN, 2], rate: 0.25, factor: 0 });
  expect(state).toEqual({ average: [8, 8], updates: 0 });
  state = await step(state, { weights: [Number.NaN, 2], rate: 0 });
  expect(state).toEqual({ average: [8, 8], updates: 0 });
  state = await step(state, { weights, rate: 0.25, factor: 2 ** -16 });
  expect(state).toEqual({ average: weights, updates: 1 });
  state = await step(state, { weights: [5, 5], rate: 0.25, factor: 2 ** -16 });
  expect(state).toEqual({ average: [2, -1], updates: 2 });
  state = await step(state, { weights: [6, 0], rate: 0.75 });
  expect(state).toEqual({ average: [5, -0.25], updates: 3 });
});
