// Gathers each rank's own running statistics for a checkpoint within an epoch, and gives them back.

import { bytesOf } from "../arrays/bytes-of.js";
import type { Executor } from "../device/device.js";
import type { CompiledModel, TensorLayout } from "../graph/compile.js";
import type { World } from "../ranks/world.js";
import { assemble, readFloats, split } from "./state.js";

/** Running statistics of one rank, in torchvision's layout. */
export type Statistics = Map<string, Float32Array>;

/** Layouts in the part of `state` that begins with the running statistics. */
function layoutsOf({ statistics, running }: CompiledModel): TensorLayout[] {
  return statistics.map((layout) => ({ ...layout, offset: layout.offset - running.offset }));
}

/** The running statistics of all ranks, in rank order; every rank takes part. */
export async function gatherStatistics(
  executor: Executor,
  compiled: CompiledModel,
  world: World,
): Promise<Statistics[]> {
  const own = await readFloats(executor, "state", compiled.running.offset);
  const all = await world.allGather(own);
  return all.map((values) => new Map(split(values, layoutsOf(compiled))));
}

/** Puts a rank's own running statistics, as they were gathered, back in place on its device. */
export async function putStatistics(
  executor: Executor,
  compiled: CompiledModel,
  own: Statistics,
): Promise<void> {
  const { offset, bytes } = compiled.running;
  await executor.write("state", offset, bytesOf(assemble(bytes, layoutsOf(compiled), own)));
}

/**
 * Gives each rank its part of rank 0's `ranks`, or what rank 0's device holds where `ranks` is undefined.
 * Every rank takes part.
 */
export async function scatterStatistics(
  executor: Executor,
  compiled: CompiledModel,
  world: World,
  ranks: readonly Statistics[] | undefined,
): Promise<void> {
  const { offset: start } = compiled.running;
  const held = await readFloats(executor, "state", start);
  const all = new Float32Array(world.worldSize * held.length);
  for (let rank = 0; rank < world.worldSize; rank++) {
    const own = ranks?.[rank];
    const values = own ? assemble(held.byteLength, layoutsOf(compiled), own) : held;
    all.set(values, rank * held.length);
  }
  await world.broadcast(all);
  const own = all.subarray(world.rank * held.length, (world.rank + 1) * held.length);
  await executor.write("state", start, bytesOf(own));
}
