// The weights that a run begins with.
import { expect, test } from "vitest";
import type { TensorLayout } from "../../lib/graph/layout.js";
import type { Initial } from "../../lib/models/model.js";
import { initialWeights } from "../../lib/train/initialize.js";

const layout = (name: string, role: TensorLayout["role"], initial: Initial): TensorLayout => ({
  ...{ name, role, initial, shape: [3], stored: [3], offset: 0 },
});
const constant = (value: number): Initial => ({ kind: "constant", value });
const layouts = [
  layout("conv1.weight", "convolution", { kind: "normal", std: 1 }),
  layout("bn1.weight", "gamma", constant(1)),
  layout("bn1.bias", "beta", constant(0)),
  layout("bn2.weight", "gamma", constant(0)),
  layout("own.weight", "gamma", constant(0.5)),
  layout("bn2.running_mean", "running-mean", constant(0)),
];

test("without zeroGamma every γ that would begin with 0 begins with 1, and nothing else changes", () => {
  const zero = initialWeights(layouts, { seed: 4 });
  expect([...zero.get("bn2.weight")!]).toEqual([0, 0, 0]);
  expect(initialWeights(layouts, { seed: 4, zeroGamma: true })).toEqual(zero);
  const one = initialWeights(layouts, { seed: 4, zeroGamma: false });
  expect([...one.get("bn2.weight")!]).toEqual([1, 1, 1]);
  expect(new Map([...one, ["bn2.weight", zero.get("bn2.weight")!]])).toEqual(zero);
});
