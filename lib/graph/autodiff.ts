// Reverse-mode differentiation: appends the nodes that compute gradients, one rule an op.
import { OnehourError } from "../errors.js";
import { add } from "../ops/elementwise.js";
import type { Graph, Value } from "./graph.js";
import { operandNames } from "./signature.js";

/**
 * Gradients of Σ y·dy with respect to `values`; nodes are appended to the graph in reverse order, and
 * where a value is used several times its gradients are summed by `add`.
 *
 * @param y where back-propagation starts
 * @param dy its gradient, same shape; where y is the `metrics` of softmaxCrossEntropy that of its first
 *   element, the loss, f32 [1], or undefined for 1
 * @returns the gradients in the order of `values`, same shapes (those of weights are f32)
 * @throws OnehourError ERR_ONEHOUR_GRAPH when y does not depend on a value, or an op between them has
 *   no gradient
 */
export function gradient(
  g: Graph,
  y: Value,
  dy: Value | undefined,
  values: readonly Value[],
): Value[] {
  const nodes = [...g.nodes];
  const depends = new Set<Value>(values);
  for (const node of nodes)
    if (Object.values(node.inputs).some((value) => depends.has(value)))
      for (const output of Object.values(node.outputs)) depends.add(output);

  const contributions = new Map<Value, Value[]>();
  const contribute = (value: Value, d: Value) => {
    const list = contributions.get(value);
    if (list) list.push(d);
    else contributions.set(value, [d]);
  };
  const total = (value: Value): Value | undefined => {
    const list = contributions.get(value);
    if (list === undefined) return undefined;
    const sum = list.reduce((a, b) => add(a, b));
    contributions.set(value, [sum]);
    return sum;
  };

  /** Values that an op returns no gradient of, in words. */
  const without = new Map<Value, string>();
  if (dy !== undefined) contribute(y, dy);
  for (const node of nodes.reverse()) {
    if (!Object.values(node.inputs).some((value) => depends.has(value))) continue;
    g.within(node.label, () => {
      const d: Record<string, Value> = {};
      for (const [name, output] of Object.entries(node.outputs)) {
        const sum = total(output);
        if (sum !== undefined) d[name] = sum;
      }
      const starts = dy === undefined && node === y.node;
      if (Object.keys(d).length === 0 && !starts) return;
      if (node.op.gradient === undefined)
        throw new OnehourError(
          "ERR_ONEHOUR_GRAPH",
          `[${node.op.name}] has no gradient; differentiate with respect to values that come after it`,
        );
      const wants = (name: string) => {
        const input = node.inputs[name];
        return input !== undefined && depends.has(input);
      };
      const gradients = node.op.gradient(node, d, wants);
      const { inputs } = operandNames(node.op);
      for (const name of Object.keys(gradients))
        if (!inputs.includes(name))
          throw new OnehourError(
            "ERR_ONEHOUR_GRAPH",
            `[${node.op.name}] returns a gradient of ${name}; expected names of its inputs: ${inputs.join(", ")}`,
          );
      for (const [name, input] of Object.entries(node.inputs)) {
        if (!depends.has(input)) continue;
        const value = gradients[name];
        if (value !== undefined) contribute(input, value);
        else without.set(input, `[${node.op.name}] returns no gradient of its input ${name}`);
      }
    });
  }
  return values.map((value) => {
    const sum = total(value);
    if (sum === undefined)
      throw new OnehourError(
        "ERR_ONEHOUR_GRAPH",
        without.get(value) ??
          `the result does not depend on ${value.dtype}[${value.shape}]; leave that value out`,
      );
    return sum;
  });
}
