// Filter gradients that convolutions round to 16 bits themselves: one pass a bucket widens them, where
// each had a kernel of its own for that.
import { conv2dBackwardWeight, conv2dBackwardWeightRounded } from "../ops/conv.js";
import { cast } from "../ops/elementwise.js";
import { hasCopies, type Settings, storedTypes } from "./compiled.js";
import { align, Storage, Value } from "./graph.js";
import type { Bucket, Layout } from "./layout.js";
import { insertAfterWriters } from "./overlap.js";
import { type Built, type Parameter, tailBytes } from "./step.js";

/** Whether the device rounds them; sums over micro-batches are kept in f32. */
export const roundsFilters = ({ precision, accumulate, device }: Settings): boolean =>
  hasCopies(precision) &&
  accumulate === 1 &&
  device.operations.has(conv2dBackwardWeightRounded.name);

/**
 * Bytes of the `grad` arena: gradients, what travels with them, and filter gradients of 16 bits at half the
 * offsets.
 */
export function gradientBytes(layout: Layout, settings: Settings): number {
  const { parameterBytes } = layout;
  const rounded = roundsFilters(settings) ? parameterBytes / 2 : 0;
  return parameterBytes + align(tailBytes(layout, settings)) + rounded;
}

/** Has convolutions round their filters' gradients, and widens a bucket's when all of them are there. */
export function roundFilterGradients(
  { g }: Built,
  gradients: readonly { parameter: Parameter; dw: Value }[],
  layout: Layout,
  settings: Settings,
): void {
  if (!roundsFilters(settings)) return;
  const start = layout.parameterBytes + align(tailBytes(layout, settings));
  const type = storedTypes[settings.precision];
  const halfSized = (offset: number, bytes: number) =>
    new Storage(bytes / 2, "grad", start + offset / 2);
  const widen = ({ parameters }: Bucket) => {
    const names = new Set(parameters);
    const filters = gradients.filter(
      ({ parameter: { declaration } }) =>
        declaration.role === "convolution" && names.has(declaration.name),
    );
    // A filter that is used twice has the sum of two gradients.
    if (filters.length === 0 || filters.some(({ dw }) => dw.node!.op !== conv2dBackwardWeight))
      return;
    const rounded = filters.map(({ dw }) => {
      const { offset, bytes } = dw.storage;
      const own = new Value(g, dw.shape, type, halfSized(offset, bytes));
      const node = { ...dw.node!, op: conv2dBackwardWeightRounded, outputs: { dw: own } };
      g.nodes[g.nodes.indexOf(dw.node!)] = node;
      own.node = node;
      return own;
    });
    const places = filters.map(({ dw }) => dw.storage);
    const from = Math.min(...places.map(({ offset }) => offset));
    const bytes = Math.max(...places.map((place) => place.offset + place.bytes)) - from;
    const x = g.leaf([bytes / 4], type, halfSized(from, bytes));
    cast(x, "f32", new Storage(bytes, "grad", from));
    const pass = g.nodes.pop()!;
    insertAfterWriters(g, pass, rounded);
    for (const { dw } of filters) dw.node = pass;
  };
  layout.buckets.forEach((bucket, i) => {
    g.within(`bucket ${i}`, () => widen(bucket));
  });
}
