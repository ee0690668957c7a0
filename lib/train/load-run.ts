// What a rank does before its first step: compiles, agrees with the others, loads and records.
import type { Device, Executor, NativeCommunicator } from "../device/device.js";
import type { CompiledModel } from "../graph/compile.js";
import type { World } from "../ranks/world.js";
import { openSchedule } from "../schedules/open.js";
import type { ScheduleBuilder } from "../schedules/schedule.js";
import { requireSameFacts } from "./agreement.js";
import { loadPrograms, requireMemory } from "./memory.js";
import { agreedAhead, compileRecipe, factsOf, type RunOptions, recordPrograms } from "./prepare.js";

/** The programs of a run in place on a device. */
export interface LoadedRun {
  compiled: CompiledModel;
  executor: Executor;
  /** Batches that are being filled at once. */
  ahead: number;
  buildSchedule: ScheduleBuilder;
}

/** Loads a run's programs. Throws where they need too much memory, or the ranks' differ. */
export async function loadRun(options: RunOptions): Promise<LoadedRun> {
  const buildSchedule = await openSchedule(options.recipe.lrSchedule);
  const ahead = await agreedAhead(options);
  const { recipe, dataset, device, keepsGradients } = options;
  const show = (text: string) => {
    if (options.world.rank === 0) options.onEvent({ type: "progress", text });
  };
  show("compiling the programs");
  const compiled = compileRecipe(recipe, dataset, device, ahead, keepsGradients);
  requireMemory(options, compiled);
  await requireSameFacts(options.world, factsOf(options, compiled));
  const { syncBatchNorm, workers } = recipe;
  const groupSize = syncBatchNorm < 0 ? workers : syncBatchNorm;
  if (workers > 1) show("connecting the workers");
  const communicators = await communicatorsOf(options.world, groupSize, device);
  show("loading the programs");
  const executor = await loadPrograms(options, compiled, communicators);
  try {
    await recordPrograms(options, executor);
    return { compiled, executor, ahead, buildSchedule };
  } catch (error) {
    executor.dispose();
    throw error;
  }
}

/** The communicators that programs on `device` name; "statistics" joins groups of `groupSize`. */
async function communicatorsOf(
  world: World,
  groupSize: number,
  device: Device,
): Promise<Record<string, NativeCommunicator>> {
  if (world.worldSize === 1) return {};
  const gradients = await world.communicator("gradients", world.worldSize, device);
  if (groupSize <= 1) return { gradients };
  return { gradients, statistics: await world.communicator("statistics", groupSize, device) };
}
