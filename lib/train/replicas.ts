// Checks that all ranks still hold the same model, bit for bit. Running statistics are each rank's own.

import { crc32 } from "node:zlib";
import type { Executor } from "../device/device.js";
import type { CompiledModel } from "../graph/compile.js";
import { elements } from "../graph/graph.js";
import type { World } from "../ranks/world.js";
import { requireSameTensors } from "./agreement.js";

/** The arenas with a value for each element of a parameter, at the parameters' offsets, and bytes a value. */
const copies = [
  { arena: "param", width: 4, nameOf: (name: string) => name },
  { arena: "state", width: 4, nameOf: (name: string) => `the momentum of ${name}` },
  { arena: "weight", width: 2, nameOf: (name: string) => `the low-precision copy of ${name}` },
] as const;

async function checksums(
  executor: Executor,
  { parameters, momentum, scaling, ema }: CompiledModel,
): Promise<Record<string, string>> {
  const sums: Record<string, string> = {};
  for (const { arena, width, nameOf } of copies) {
    if (!executor.memory.arenas[arena]) continue; // fp32 has no copies
    const values = await executor.read(arena, 0, (momentum.bytes / 4) * width);
    for (const { name, offset, stored } of parameters) {
      const start = (offset / 4) * width;
      const sum = crc32(values.subarray(start, start + elements(stored) * width));
      sums[nameOf(name)] = sum.toString(16);
    }
  }
  if (ema) {
    const { weights, updates } = ema;
    const values = await executor.read("state", weights.offset, weights.bytes);
    for (const { name, offset, stored } of ema.parameters) {
      const start = offset - weights.offset;
      const sum = crc32(values.subarray(start, start + elements(stored) * 4));
      sums[`the moving average of ${name}`] = sum.toString(16);
    }
    const count = await executor.read("state", updates.offset, updates.bytes);
    sums["the moving average's updates"] = crc32(count).toString(16);
  }
  if (scaling.bytes > 0) {
    const values = await executor.read("state", scaling.offset, scaling.bytes);
    sums["the loss scale"] = crc32(values).toString(16);
  }
  return sums;
}

/**
 * Compares parameters, momentum, low-precision copies, the moving average and the loss scale over the ranks, all
 * of which call it after the same number of steps with nothing queued. Throws ERR_ONEHOUR_RANKS_DIFFER naming who differs.
 */
export async function requireSameReplicas(
  executor: Executor,
  compiled: CompiledModel,
  world: World,
  run: { step: number; out: string },
): Promise<void> {
  if (world.worldSize === 1) return;
  await requireSameTensors(world, run, await checksums(executor, compiled));
}
