// Runs a family of cases of the op book: forward and gradients against the oracle, and each gradient
// against a finite difference of the forward pass.
import { describe, expect, it } from "vitest";
import type { NativeCommunicator } from "../../lib/device/device.js";
import { gradient } from "../../lib/graph/autodiff.js";
import { evaluate } from "../../lib/graph/evaluate.js";
import type { DataType, Graph, Value } from "../../lib/graph/graph.js";
import { type CaseFamily, type CaseRow, typeOfInput } from "../../lib/ops/cases.js";
import { dot, norm, relativeError } from "../../proof/compare.js";
import { device } from "./device.js";
import { lookup, type Reference, readFixture } from "./fixtures.js";

/** Numbers read back from the device. */
export type Results = Record<string, Float32Array>;

/**
 * One rounding to f32 has a relative error of at most 2⁻²⁴ = 6e-8. The sums here have up to 3000
 * terms of both signs, whose errors add up to some ten of those.
 */
export const F32_TOLERANCE = 3e-6;
/** One rounding to bf16: 2⁻⁸ at most. Results are rounded once, sums are accumulated in f32. */
export const BF16_TOLERANCE = 2 ** -8;

/** Values of a graph as f32 numbers. */
export async function run(
  build: (g: Graph) => object,
  communicators: Record<string, NativeCommunicator> = {},
): Promise<Results> {
  const graph = (g: Graph) => build(g) as Record<string, Value>;
  return (await evaluate(device, graph, { communicators })) as Results;
}

/** Puts a tensor of a fixture into a graph. */
export function constant(g: Graph, { data, shape }: Reference, dtype?: DataType): Value {
  return g.constant(data, shape, dtype);
}

/** ±1 by a bit of a multiplicative hash of the index: the direction of a finite difference. */
export function sign(index: number): number {
  return Math.imul(index + 1, 0x9e3779b1) & 0x10000 ? -1 : 1;
}

/** The tolerance of results that are rounded once. */
export const toleranceOf = ({ dtype }: Pick<CaseRow, "dtype">) =>
  dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE;

export function testFamily(family: CaseFamily): void {
  const { family: name, rows, build, tolerance = toleranceOf } = family;
  describe.each(rows)(`${name}: $name`, (row) => {
    const fixture = lookup(readFixture(name, `${row.name}/`));
    const inputs = family.inputs(row);
    const leaves = Object.keys(inputs);
    // bf16 is left out: its roundings are larger than a step.
    const difference = row.dtype === "bf16" ? undefined : family.difference(row);

    const place = (g: Graph, changed: Record<string, Float32Array> = {}) =>
      Object.fromEntries(
        leaves.map((leaf) => {
          const { data, shape } = fixture(leaf);
          expect(shape, leaf).toEqual(inputs[leaf]!.shape);
          return [leaf, g.constant(changed[leaf] ?? data, shape, typeOfInput(inputs[leaf]!, row))];
        }),
      );
    const forward = (changed?: Record<string, Float32Array>) =>
      run((g) => ({ y: build(place(g, changed), row) }));
    const backward = () =>
      run((g) => {
        const placed = place(g);
        const y = build(placed, row);
        const dy = constant(g, fixture("dy"), y.dtype);
        const gradients = gradient(g, y, dy, Object.values(placed));
        return Object.fromEntries(leaves.map((leaf, i) => [leaf, gradients[i]!]));
      });

    it("forward", async () => {
      const { y } = await forward();
      expect(relativeError(y!, fixture("y").data)).toBeLessThan(tolerance(row));
    });

    it("gradients", async () => {
      const gradients = await backward();
      for (const leaf of leaves)
        expect(relativeError(gradients[leaf]!, fixture(`d${leaf}`).data), leaf).toBeLessThan(
          tolerance(row),
        );
    });

    // Along a direction of ±1 in every element the derivative of Σ y·dy is Σ gradient·direction, a
    // sum whose size is the gradient's norm.
    it.runIf(difference)("gradients against a finite difference", async () => {
      const { step, tolerance: allowed } = difference!;
      const gradients = await backward();
      const dy = fixture("dy").data;
      for (const leaf of leaves) {
        const { data } = fixture(leaf);
        const moved = (by: number) =>
          forward({ [leaf]: Float32Array.from(data, (x, i) => x + by * sign(i)) });
        const [up, down] = [await moved(step), await moved(-step)];
        const measured = (dot(up.y!, dy) - dot(down.y!, dy)) / (2 * step);
        const expected = gradients[leaf]!.reduce((sum, d, i) => sum + d * sign(i), 0);
        const error = Math.abs(measured - expected) / norm(gradients[leaf]!);
        expect(error, leaf).toBeLessThan(allowed);
      }
    });
  });
}
