// Compares a case of the op book with what PyTorch computed of it, and its gradients with finite
// differences of the forward pass too.
import type { Device } from "#lib/device/device.js";
import { gradient } from "#lib/graph/autodiff.js";
import { evaluate } from "#lib/graph/evaluate.js";
import { type DataType, Graph, type Value } from "#lib/graph/graph.js";
import { accumulateInto, canAccumulate, outputName } from "#lib/graph/step.js";
import type { CaseFamily, CaseRow } from "#lib/ops/cases.js";
import type { UpdateFamily } from "#lib/ops/optimizers/cases.js";
import { dot, norm, relativeError } from "../compare.js";
import { outputsOf, typeOfInput } from "./families.js";
import { lookup, readFixture } from "./fixtures.js";

/** One number that was compared. */
export interface OracleFinding {
  /** The output, or the input whose gradient it is. */
  name: string;
  error: number;
  tolerance: number;
}

/** A finding in words. */
export const describeFinding = ({ name, error, tolerance }: OracleFinding) =>
  `${name}: error ${error.toPrecision(3)}, at most ${tolerance.toPrecision(3)}`;

/**
 * One rounding to f32 has a relative error of at most 2⁻²⁴ = 6e-8. The sums here have up to 3000
 * terms of both signs, whose errors add up to some ten of those.
 */
const F32_TOLERANCE = 3e-6;
/** One rounding to bf16: 2⁻⁸ at most. Results are rounded once, sums are accumulated in f32. */
const BF16_TOLERANCE = 2 ** -8;
/** The same to f16. */
const F16_TOLERANCE = 2 ** -11;

/** The tolerance of results that are rounded once. */
export const toleranceOf = ({ dtype }: { dtype: DataType }) =>
  dtype === "bf16" ? BF16_TOLERANCE : dtype === "f16" ? F16_TOLERANCE : F32_TOLERANCE;

/** ±1 by a bit of a multiplicative hash of the index: the direction of a finite difference. */
export function sign(index: number): number {
  return Math.imul(index + 1, 0x9e3779b1) & 0x10000 ? -1 : 1;
}

type Results = Record<string, Float32Array>;

async function run(device: Device, build: (g: Graph) => Record<string, Value>): Promise<Results> {
  return (await evaluate(device, build)) as Results;
}

/** The largest error of an element relative to it; absolute where it is 0. */
function largestError(got: Float32Array, expected: ArrayLike<number>): number {
  return Math.max(...got.map((x, i) => Math.abs(x - expected[i]!) / (Math.abs(expected[i]!) || 1)));
}

/** Compares a row of a family: outputs, gradients, finite differences. */
export async function compareCase(
  device: Device,
  family: CaseFamily,
  row: CaseRow,
): Promise<OracleFinding[]> {
  const { family: name, elementwise = [], difference } = family;
  // A result in f32 has its precision, of operands in bf16 too.
  const types = new Map<string, DataType>();
  const tolerance =
    family.tolerance ?? ((_, output) => toleranceOf({ dtype: types.get(output) ?? row.dtype }));
  const fixture = lookup(readFixture(name, `${row.name}/`));
  const inputs = family.inputs(row);
  const leaves = Object.keys(inputs);
  const place = (g: Graph, changed: Results = {}) =>
    Object.fromEntries(
      leaves.map((leaf) => {
        const { data, shape } = fixture(leaf);
        if (`${shape}` !== `${inputs[leaf]!.shape}`)
          throw new Error(
            `the fixture's ${leaf} is [${shape}], expected [${inputs[leaf]!.shape}]; ` +
              "run scripts/oracle.py",
          );
        const type = typeOfInput(inputs[leaf]!, row.dtype);
        return [leaf, g.constant(changed[leaf] ?? data, shape, type)];
      }),
    );
  const forward = (changed?: Results) =>
    run(device, (g) => {
      const outputs = { ...outputsOf(family, place(g, changed), row) } as Record<string, Value>;
      for (const [output, { dtype }] of Object.entries(outputs)) types.set(output, dtype);
      return outputs;
    });

  const findings: OracleFinding[] = [];
  const compare = (label: string, got: Float32Array, output: string) => {
    const { data } = fixture(output);
    const error = elementwise.includes(output) ? largestError(got, data) : relativeError(got, data);
    findings.push({ name: label, error, tolerance: tolerance(row, output) });
  };
  for (const [output, got] of Object.entries(await forward())) compare(output, got, output);
  if (difference === undefined) return findings;

  const backward = (g: Graph): [string, Value][] => {
    const placed = place(g);
    const { y } = outputsOf(family, placed, row) as { y: Value };
    const { data, shape } = fixture("dy");
    const all = gradient(g, y, g.constant(data, shape, y.dtype), Object.values(placed));
    for (const [i, leaf] of leaves.entries()) types.set(`d${leaf}`, all[i]!.dtype);
    return leaves.map((leaf, i) => [leaf, all[i]!]);
  };
  const gradients = await run(device, (g) => Object.fromEntries(backward(g)));
  for (const leaf of leaves) compare(`gradient of ${leaf}`, gradients[leaf]!, `d${leaf}`);

  // With micro-batches an op adds a parameter's gradient to the one before; here to numbers of its size.
  const canAdd = ([, value]: [string, Value]) =>
    value.node !== undefined && canAccumulate(value.node, outputName(value));
  const adding = backward(new Graph()).filter(canAdd);
  if (adding.length > 0) {
    const before = (leaf: string) => {
      const { data } = fixture(`d${leaf}`);
      return Float32Array.from(data, (_, i) => (sign(i) * norm(data)) / Math.sqrt(data.length));
    };
    const sums = await run(device, (g) => {
      const values = backward(g).filter(canAdd);
      for (const [leaf, value] of values) {
        value.storage = g.constant(before(leaf), value.shape, value.dtype).storage;
        accumulateInto(value.node!, outputName(value));
      }
      return Object.fromEntries(values);
    });
    for (const [leaf] of adding) {
      const start = before(leaf);
      const added = sums[leaf]!.map((sum, i) => sum - start[i]!);
      compare(`gradient of ${leaf}, added to another`, added, `d${leaf}`);
    }
  }

  // In bf16 and f16 roundings are larger than a step.
  const step = row.dtype === "f32" ? difference(row) : undefined;
  if (step === undefined) return findings;
  const dy = fixture("dy").data;
  for (const leaf of leaves) {
    const { data } = fixture(leaf);
    const moved = async (by: number) => {
      const { y } = await forward({ [leaf]: Float32Array.from(data, (x, i) => x + by * sign(i)) });
      return dot(y!, dy);
    };
    // Along a direction of ±1 in every element the derivative of Σ y·dy is Σ gradient·direction, a
    // sum whose size is the gradient's norm.
    const measured = ((await moved(step.step)) - (await moved(-step.step))) / (2 * step.step);
    const expected = gradients[leaf]!.reduce((sum, d, i) => sum + d * sign(i), 0);
    findings.push({
      name: `finite difference by ${leaf}`,
      error: Math.abs(measured - expected) / norm(gradients[leaf]!),
      tolerance: step.tolerance,
    });
  }
  return findings;
}

/** Allowed error of parameters and momentum after a step. */
const UPDATE_TOLERANCE = 1e-6;

/** Compares a row of updates: steps in which the rate rises and falls, each from the one before. */
export async function compareUpdate(
  device: Device,
  family: UpdateFamily,
  row: { name: string },
): Promise<OracleFinding[]> {
  const fixture = lookup(readFixture(family.family, `${row.name}/`));
  const [steps] = fixture("schedule").shape as [number];
  const length = family.lengths(row).reduce((sum, own) => sum + own, 0);
  const ofStep = (name: string, step: number, width = length) =>
    fixture(name).data.slice(step * width, (step + 1) * width) as Float32Array;
  const findings: OracleFinding[] = [];
  let state: Results = { w: fixture("w").data as Float32Array, v: new Float32Array(length) };
  for (let step = 0; step < steps; step++) {
    state = await run(device, (g) => {
      const constant = (data: Float32Array) => g.constant(data, [data.length]);
      const [w, v] = [constant(state.w!), constant(state.v!)];
      const schedule = constant(ofStep("schedule", step, 2));
      const writes = { zero: false, into: {} };
      family.update({ w, v, schedule, writes, g: constant(ofStep("g", step)) }, row);
      return { w, v };
    });
    for (const name of ["w", "v"]) {
      const error = relativeError(state[name]!, ofStep(`new-${name}`, step));
      findings.push({ name: `${name} after step ${step}`, error, tolerance: UPDATE_TOLERANCE });
    }
  }
  return findings;
}
