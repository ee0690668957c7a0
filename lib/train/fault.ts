// Finds the layer in which numbers first stopped being finite, from the state after that one step.

import type { CompiledModel } from "../graph/compile.js";
import type { ModelState } from "../run-folder/checkpoint.js";

/** A layer, and its place in the order in which a step computes: forward, then backward. */
export interface BadLayer {
  name: string;
  order: number;
}

const isBad = (values: Float32Array | undefined) => values?.some((x) => !Number.isFinite(x));

/**
 * The first bad tensor. Running statistics show the activations that a batch norm saw, in the order of the
 * forward pass; updated parameters show their gradients, in that of the backward pass.
 */
export function firstBad(
  { weights }: ModelState,
  { statistics, parameters }: Pick<CompiledModel, "statistics" | "parameters">,
): BadLayer | undefined {
  const forward = statistics.findIndex(({ name }) => isBad(weights.get(name)));
  if (forward >= 0) {
    const layer = statistics[forward]!.name.replace(/\.running_(mean|var)$/, "");
    return { name: `the input of ${layer}`, order: forward };
  }
  const backward = parameters.findIndex(({ name }) => isBad(weights.get(name)));
  if (backward < 0) return undefined;
  return {
    name: `the gradient of ${parameters[backward]!.name}`,
    order: statistics.length + backward,
  };
}
