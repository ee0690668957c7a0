// Gathers each rank's own running statistics for a checkpoint within an epoch, and gives them back.

import { bytesOf } from "../arrays/bytes-of.js";
import type { Executor } from "../device/device.js";
import { type CompiledModel, ownState, type TensorLayout } from "../graph/compile.js";
import type { World } from "../ranks/world.js";
import { ownStatistics } from "../run-folder/checkpoint.js";
import { assemble, readFloats, split } from "./state.js";

/** Running statistics of one rank, and their moving average as `ema.<name>`, in torchvision's layout. */
export type Statistics = Map<string, Float32Array>;

/** Layouts in the part of `state` in which ranks differ. */
function layoutsOf(compiled: CompiledModel): TensorLayout[] {
  const { offset } = ownState(compiled);
  return ownStatistics(compiled).map((layout) => ({ ...layout, offset: layout.offset - offset }));
}

/** The running statistics of all ranks, in rank order; every rank takes part. */
export async function gatherStatistics(
  executor: Executor,
  compiled: CompiledModel,
  world: World,
): Promise<Statistics[]> {
  const own = await readFloats(executor, "state", ownState(compiled).offset);
  const all = await world.allGather(own);
  return all.map((values) => new Map(split(values, layoutsOf(compiled))));
}

/** Puts a rank's own running statistics, as they were gathered, back in place on its device. */
export async function putStatistics(
  executor: Executor,
  compiled: CompiledModel,
  own: Statistics,
): Promise<void> {
  const { offset, bytes } = ownState(compiled);
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
  const { offset: start } = ownState(compiled);
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
