// Prepares a run: its options, its programs, and the checks that they must pass.

import { type Dataset, testShape } from "../data/dataset.js";
import type { Device, Executor } from "../device/device.js";
import { type CompiledModel, compile } from "../graph/compile.js";
import { buildModel } from "../models/models.js";
import { optimizers } from "../ops/optimizers/index.js";
import type { Restart } from "../ranks/restart-policy.js";
import type { World } from "../ranks/world.js";
import { type Recipe, refuse } from "../recipe/fields.js";
import { fieldsWhere } from "../recipe/table.js";
import { plural } from "../text/words.js";
import type { RunEvent } from "./events.js";

/** Input slots: two steps are queued while others are being filled. */
export function slotsFor(ahead: number): number {
  return 2 + ahead;
}

/** Batches that are being filled at once. */
export function batchesAhead(dataset: Dataset, batch: number): number {
  return dataset.ahead?.(batch) ?? 1;
}

/**
 * The most batches ahead that a rank wants. Each measures how fast it reads, but the slots are a part
 * of the programs, and a step that went wrong is noticed as many steps later on every rank.
 */
export async function agreedAhead({ recipe, dataset, world }: RunOptions): Promise<number> {
  const wanted = await world.gather("ahead", String(batchesAhead(dataset, recipe.batch)));
  return Math.max(...wanted.map(Number));
}

/** Compiles the programs of a recipe for a device. */
export function compileRecipe(
  recipe: Recipe,
  dataset: Dataset,
  device: Device,
  ahead = batchesAhead(dataset, recipe.batch),
  keepsGradients = false,
): CompiledModel {
  const { syncBatchNorm, workers } = recipe;
  const { images, classes, mean, std } = dataset;
  const { batch, accumulate, precision, labelSmoothing, preciseBatchNorm } = recipe;
  return compile(
    buildModel(recipe.model, { channels: images.channels, classes }),
    {
      device,
      image: images,
      testImage: testShape(dataset),
      mean,
      std,
      batch,
      accumulate,
      workers,
      precision,
      labelSmoothing,
      preciseBatchNorm,
      noiseScale: recipe.noiseScale,
      ema: recipe.emaDecay !== undefined,
      syncBatchNorm: syncBatchNorm === 0 ? 1 : syncBatchNorm < 0 ? workers : syncBatchNorm,
      slots: slotsFor(ahead),
    },
    { optimizer: optimizers[recipe.optimizer](recipe), clipNorm: recipe.clipNorm, keepsGradients },
  );
}

/** A recipe with the run folder that was chosen. */
export type RunRecipe = Recipe & { out: string };

/** What a rank's run is made of. */
export interface RunOptions {
  /** Resolved, with `out`. */
  recipe: RunRecipe;
  resume: boolean;
  /** Where the run starts again after a failure. */
  restart?: Restart | undefined;
  dataset: Dataset;
  device: Device;
  world: World;
  /** Whether a step's gradients are to be read after it. */
  keepsGradients?: boolean;
  /** Called on rank 0 only. */
  onEvent: (event: RunEvent) => void;
}

/** Fields in which ranks may differ. */
const ownFields: ReadonlySet<string> = fieldsWhere(({ perRank }) => perRank === true);

/** What all ranks must have alike at the start. */
export function factsOf({ recipe, dataset }: RunOptions, compiled: CompiledModel) {
  const shared = Object.entries(recipe).filter(([key]) => !ownFields.has(key));
  return {
    recipe: Object.fromEntries(shared.sort()),
    "data set": dataset.fingerprint,
    "programs' hash": compiled.hash,
  };
}

/** Has a GPU replay each submission as one graph, on all ranks or on none. */
export async function recordPrograms(
  { recipe, device, world, onEvent }: RunOptions,
  executor: Executor,
): Promise<void> {
  if (device.properties.kind !== "cuda" || !recipe.cudaGraph) return;
  const reasons = await world.gather("record", (await executor.record()) ?? "");
  const rank = reasons.findIndex((reason) => reason !== "");
  if (rank < 0) return;
  await executor.forget();
  if (world.rank === 0)
    onEvent({
      type: "message",
      text: `no CUDA graph is used, since rank ${rank} cannot record one: ${reasons[rank]}`,
    });
}

/** Refuses a `steps` that an interrupted run has passed: its recipe could not repeat it. */
export function requireStepsLeft({ steps, out }: RunRecipe, done: number): void {
  if (steps === undefined || done <= steps) return;
  throw refuse(
    "steps",
    `${plural(done, "step")} of ${out} ${done === 1 ? "is" : "are"} done already, and ${steps} were asked for; ` +
      `expected ${done} or more`,
  );
}
