// Moves parameters, momentum and running statistics between a device's arenas and host tensors.

import { setImmediate } from "node:timers/promises";
import { bytesOf } from "../arrays/bytes-of.js";
import type { Executor } from "../device/device.js";
import type { CompiledModel, TensorLayout } from "../graph/compile.js";
import { elements } from "../graph/graph.js";
import { initialScaling, type Scaling, scalingToFloats } from "../ops/loss-scale.js";
import type { ModelState } from "../run-folder/checkpoint.js";
import { fromStored, toStored } from "../run-folder/layout.js";

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

function tensorOf(whole: Float32Array, layout: TensorLayout): Float32Array {
  const start = layout.offset / 4;
  return fromStored(layout, whole.subarray(start, start + elements(layout.stored)));
}

/** The reverse of `assemble`. */
export function split(
  whole: Float32Array,
  layouts: readonly TensorLayout[],
): [name: string, values: Float32Array][] {
  return layouts.map((layout) => [layout.name, tensorOf(whole, layout)]);
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
 * Writes parameters, their low-precision copies, running statistics, momentum, if there is one, where loss
 * scaling stands and the moving average, which begins as the model itself, into arenas that hold zeros so far.
 * One tensor at a time, so that the host never holds a second copy of an arena.
 */
export async function writeWeights(
  executor: Executor,
  { parameters, statistics, scaling: place, ema: averages }: CompiledModel,
  { weights, momentum, ema = { weights, updates: 0 } }: ModelState,
  scaling: Scaling = initialScaling,
): Promise<void> {
  const write = (arena: string, layout: TensorLayout, values: Float32Array) =>
    executor.write(arena, layout.offset, bytesOf(toStored(layout, values)));
  for (const layout of parameters) await write("param", layout, weights.get(layout.name)!);
  if (arenaBytes(executor, "weight") > 0) await executor.submit("weights", 0);
  for (const layout of statistics) await write("state", layout, weights.get(layout.name)!);
  if (momentum) {
    for (const layout of parameters) await write("state", layout, momentum.get(layout.name)!);
  }
  if (place.bytes > 0)
    await executor.write("state", place.offset, bytesOf(scalingToFloats(scaling)));
  if (!averages) return;
  for (const layout of [...averages.parameters, ...averages.statistics])
    await write("state", layout, ema.weights.get(layout.name)!);
  await executor.write("state", averages.updates.offset, bytesOf(Float32Array.of(ema.updates)));
}

/** Zeroes the gradients, to which the first micro-batch adds. */
export async function clearGradients(executor: Executor): Promise<void> {
  await executor.write("grad", 0, new Uint8Array(arenaBytes(executor, "grad")));
}

/** What a model's state is on the device, copied as it lies there. */
export interface Snapshot {
  param: Float32Array;
  state: Float32Array;
}

/** The state once all submissions have ended. */
export async function readSnapshot(executor: Executor): Promise<Snapshot> {
  const [param, state] = await Promise.all(
    ["param", "state"].map((arena) => readFloats(executor, arena)),
  );
  return { param: param!, state: state! };
}

/** Its parameters, running statistics, momentum and moving average; steps are queued between two tensors. */
export async function stateOf(
  { param, state }: Snapshot,
  { parameters, statistics, ema }: CompiledModel,
): Promise<Required<Pick<ModelState, "weights" | "momentum">> & Pick<ModelState, "ema">> {
  const weights = new Map<string, Float32Array>();
  const momentum = new Map<string, Float32Array>();
  for (const layout of parameters) {
    weights.set(layout.name, tensorOf(param, layout));
    await setImmediate();
    momentum.set(layout.name, tensorOf(state, layout));
    await setImmediate();
  }
  for (const layout of statistics) weights.set(layout.name, tensorOf(state, layout));
  if (!ema) return { weights, momentum };
  const averaged = new Map<string, Float32Array>();
  for (const layout of [...ema.parameters, ...ema.statistics]) {
    averaged.set(layout.name, tensorOf(state, layout));
    await setImmediate();
  }
  const updates = state[ema.updates.offset / 4]!;
  return { weights, momentum, ema: { weights: averaged, updates } };
}
