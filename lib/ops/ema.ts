// How far a step moves an exponential moving average of the weights, decided on the device: a step that
// loss scaling skips does not count.
import type { Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { type CaseRow, defineCases } from "./cases.js";

const emaWeightOp = defineOp<"updates" | "weight">({
  name: "ema-weight",
  signature: "rate:f32[1] updates:f32[1] factor?:f32[1] -> updates:f32[1] weight:f32[1]",
});

/**
 * The weight of the new model in the average: `rate`, but 1 for the first update, which copies, and 0, no
 * update, where the rate or the factor is 0. As PyTorch's AveragedModel.
 *
 * @param rate f32 [1]: 1 − decay in a step that updates the average, 0 in the others
 * @param updates f32 [1]: updates so far; overwritten by those with this step's
 * @param factor f32 [1], of `lossScale`, where the loss is scaled: 0 for a step that is skipped
 */
export function emaWeight(
  rate: Value,
  updates: Value,
  factor?: Value,
): { updates: Value; weight: Value } {
  return rate.graph.apply(emaWeightOp, { rate, updates, factor });
}

interface EmaRow extends CaseRow {
  updates: number;
  /** 0 or more; undefined where the loss is not scaled. */
  factor?: number;
}

const row = (name: string, updates: number, factor?: number): EmaRow => ({
  name,
  updates,
  dtype: "f32",
  ...(factor === undefined ? {} : { factor }),
});

/** Cases of the decision, which PyTorch makes on the host. */
defineCases<EmaRow>({
  family: "ema-weight",
  rows: [],
  sizes: [
    row("the first update", 0),
    row("a later update", 3),
    row("a step that is taken", 3, 2 ** -10),
    row("a step that is skipped", 3, 0),
  ],
  inputs: () => ({ rate: { shape: [1], f32: true, mean: 4 } }),
  build: ({ rate }, { updates, factor }) => {
    const constant = (value: number) => rate!.graph.constant(Float32Array.of(value), [1]);
    const scaled = factor === undefined ? undefined : constant(factor);
    return { ...emaWeight(rate!, constant(updates), scaled) };
  },
  elementwise: ["updates", "weight"],
});
