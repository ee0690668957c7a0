// What a rank does before its first step: compiles, agrees with the others, loads and records.
import type { Executor } from "../device/device.js";
import type { CompiledModel } from "../graph/compile.js";
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
  const compiled = compileRecipe(recipe, dataset, device, ahead, keepsGradients);
  requireMemory(options, compiled);
  await requireSameFacts(options.team, factsOf(options, compiled));
  const { syncBatchNorm, workers } = recipe;
  const communicators = await options.team.communicators(
    syncBatchNorm < 0 ? workers : syncBatchNorm,
    device,
  );
  const executor = await loadPrograms(options, compiled, communicators);
  try {
    await recordPrograms(options, executor);
    return { compiled, executor, ahead, buildSchedule };
  } catch (error) {
    executor.dispose();
    throw error;
  }
}
