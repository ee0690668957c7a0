// Moves parameters, momentum and running statistics between a device's arenas and host tensors.

import type { Executor } from "../device.js";
import type { CompiledModel, TensorLayout } from "../graph/compile.js";
import { elements } from "../graph/graph.js";
import type { ModelState } from "./checkpoint.js";
import { fromStored, toStored } from "./layout.js";

export function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The tensors in one array as long as their arena, zero between them. */
export function assemble(
  bytes: number,
  layouts: readonly TensorLayout[],
  values: Map<string, Float32Array>,
): Float32Array {
  const whole = new Float32Array(bytes / 4);
  for (const layout of layouts) {
    whole.set(toStored(layout, values.get(layout.name)!), layout.offset / 4);
  }
  return whole;
}

/** The reverse of `assemble`. */
export function split(
  whole: Float32Array,
  layouts: readonly TensorLayout[],
): [name: string, values: Float32Array][] {
  return layouts.map((layout) => {
    const start = layout.offset / 4;
    const stored = whole.subarray(start, start + elements(layout.stored));
    return [layout.name, fromStored(layout, stored)];
  });
}

/** An arena from byte `offset` on. */
export async function readFloats(
  executor: Executor,
  arena: string,
  offset = 0,
): Promise<Float32Array> {
  const bytes = arenaBytes(executor, arena) - offset;
  const read = await executor.read(arena, offset, bytes);
  return read.byteOffset % 4 === 0
    ? new Float32Array(read.buffer, read.byteOffset, bytes / 4)
    : new Float32Array(read.slice().buffer);
}

function arenaBytes(executor: Executor, arena: string): number {
  return executor.memory.arenas[arena] ?? 0;
}

/**
 * Writes parameters, their low-precision copies, running statistics and momentum, if there is one,
 * into arenas that hold zeros so far. One tensor at a time, so that the host never holds a second
 * copy of an arena.
 */
export async function writeWeights(
  executor: Executor,
  { parameters, statistics }: CompiledModel,
  { weights, momentum }: ModelState,
): Promise<void> {
  const write = (arena: string, layout: TensorLayout, values: Float32Array) =>
    executor.write(arena, layout.offset, bytesOf(toStored(layout, values)));
  for (const layout of parameters) await write("param", layout, weights.get(layout.name)!);
  if (arenaBytes(executor, "weight") > 0) await executor.submit("weights", 0);
  for (const layout of statistics) await write("state", layout, weights.get(layout.name)!);
  if (momentum) {
    for (const layout of parameters) await write("state", layout, momentum.get(layout.name)!);
  }
}

/** Zeroes the gradients, to which the first micro-batch adds. */
export async function clearGradients(executor: Executor): Promise<void> {
  await executor.write("grad", 0, new Uint8Array(arenaBytes(executor, "grad")));
}

/** Parameters, running statistics and momentum, once all submissions have ended. */
export async function readState(
  executor: Executor,
  compiled: CompiledModel,
): Promise<Required<Pick<ModelState, "weights" | "momentum">>> {
  const parameters = await readFloats(executor, "param");
  const state = await readFloats(executor, "state");
  return {
    weights: new Map([
      ...split(parameters, compiled.parameters),
      ...split(state, compiled.statistics),
    ]),
    momentum: new Map(split(state, compiled.parameters)),
  };
}

/** The parameters as they lie on the device, by name. */
export async function readParameters(
  executor: Executor,
  compiled: CompiledModel,
): Promise<Map<string, Float32Array>> {
  const whole = await readFloats(executor, "param");
  return new Map(
    compiled.parameters.map((layout) => {
      const start = layout.offset / 4;
      return [layout.name, whole.subarray(start, start + elements(layout.stored))];
    }),
  );
}
