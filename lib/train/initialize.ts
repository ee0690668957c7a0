// Draws the initial weights that a model declares.

import { hashName, Purpose, Random } from "../data/random.js";
import type { TensorLayout } from "../graph/compile.js";
import { elements } from "../graph/graph.js";

/** Fills with N(0, deviation²), keyed by seed and the tensor's name. */
function normal(layout: TensorLayout, seed: number, deviation: number): Float32Array {
  const values = new Float32Array(elements(layout.shape));
  const random = new Random(seed, Purpose.weights, 0, hashName(layout.name));
  for (let i = 0; i < values.length; i += 2) {
    const [first, second] = random.normals();
    values[i] = first * deviation;
    if (i + 1 < values.length) values[i + 1] = second * deviation;
  }
  return values;
}

/**
 * Initial values of parameters and running statistics by name, in torchvision's layout, as the
 * model declares them (paper, section 5.1); without `zeroGamma` every γ that would begin with 0 begins
 * with 1. The same for every seed and name on every machine.
 */
export function initialWeights(
  layouts: readonly TensorLayout[],
  { seed, zeroGamma = true }: { seed: number; zeroGamma?: boolean },
): Map<string, Float32Array> {
  return new Map(
    layouts.map((layout) => {
      const { name, role, shape, initial } = layout;
      if (initial.kind === "normal") return [name, normal(layout, seed, initial.std)];
      const isRaised = !zeroGamma && role === "gamma" && initial.value === 0;
      return [name, new Float32Array(elements(shape)).fill(isRaised ? 1 : initial.value)];
    }),
  );
}
