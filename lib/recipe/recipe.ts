// Resolves a recipe, which decides all numbers of a run: chooses what is left open and refuses what is
// impossible, first what needs no data, before any is opened, then what does.

import { resolve } from "node:path";
import type { Dataset } from "../data/dataset.js";
import type { DeviceProperties } from "../device/device.js";
import { modelNamed } from "../models/models.js";
import { isModule } from "../modules/pinned.js";
import { defaultMilestones, stepsOf } from "../schedules/schedule.js";
import { plural } from "../text/words.js";
import { type PartialRecipe, type Recipe, type RecipeInput, refuse } from "./fields.js";
import { hasNoMilestones, requireSchedule } from "./lr-schedule.js";
import { microBatches } from "./minibatch.js";
import { followingOptimizer, momentumOf } from "./momentum.js";
import { setting } from "./voice.js";

/** Milestones in the order that they are kept in. */
export function sortMilestones(milestones: readonly number[]): number[] {
  return [...milestones].sort((a, b) => a - b);
}

/** What a device's precision depends on. */
type DeviceKind = Pick<DeviceProperties, "kind">;

/** The precision asked for, or the device's own; ERR_ONEHOUR_RECIPE for one that it cannot do. */
export function choosePrecision(
  asked: PartialRecipe["precision"],
  device: DeviceKind,
): Recipe["precision"] {
  const precision = asked ?? (device.kind === "cuda" ? "bf16" : "fp32");
  if (precision === "tf32" && device.kind !== "cuda") {
    throw refuse("precision", "tf32 needs a GPU; expected fp32, bf16 or fp16 on the CPU");
  }
  return precision;
}

/**
 * A recipe with some fields changed. Default milestones go with the epochs: where only these are
 * changed, milestones that were the defaults before are left to be chosen again; so does what followed
 * from the optimizer or the schedule. Of `accumulate` and
 * `minibatch`, which name the same, the change counts.
 */
export function overrideRecipe(recipe: RecipeInput, changes: RecipeInput): RecipeInput {
  const kept = { ...recipe };
  const isDefault =
    recipe.epochs !== undefined &&
    JSON.stringify(recipe.milestones) === JSON.stringify(defaultMilestones(recipe.epochs));
  const { epochs, lrSchedule } = changes;
  if (isDefault && (epochs !== undefined || lrSchedule !== undefined)) delete kept.milestones;
  if (lrSchedule !== undefined && hasNoMilestones(recipe)) delete kept.milestones;
  const isOther = changes.optimizer !== undefined && changes.optimizer !== recipe.optimizer;
  for (const name of isOther ? followingOptimizer(recipe) : []) delete kept[name];
  if (changes.minibatch !== undefined) delete kept.accumulate;
  if (changes.accumulate !== undefined) delete kept.minibatch;
  return { ...kept, ...changes };
}

/** What a recipe must suit, whatever its data. */
interface Surroundings {
  device: DeviceKind;
}

/** Refuses what cannot be, whatever the data: before any is opened. Workers are 1 where none are named. */
export function requirePossible(recipe: PartialRecipe, { device }: Surroundings): void {
  const { model, workers = 1, syncBatchNorm: group, epochs } = recipe;
  if (model !== undefined) requireModel(model);
  momentumOf(recipe);
  requireSchedule(recipe);
  choosePrecision(recipe.precision, device);
  if (recipe.emaSteps !== undefined && recipe.emaDecay === undefined) {
    throw refuse("emaSteps", `there is no average without ${setting("emaDecay", 0.999)}`);
  }
  if (group > 0 && workers % group !== 0) {
    throw refuse(
      "syncBatchNorm",
      workers === 1
        ? `there is one worker only; try ${setting("workers", 2)}`
        : `${workers} workers cannot be divided into groups of ${group}; expected a divisor of ${workers}`,
    );
  }
  if (epochs !== undefined) requireBefore(epochs, recipe.milestones);
}

function requireModel(name: string): void {
  try {
    modelNamed(name);
  } catch (error) {
    throw refuse("model", (error as Error).message);
  }
}

/** Refuses milestones that a run does not reach. */
function requireBefore(epochs: number, milestones: readonly number[] = []): void {
  const late = milestones.find((milestone) => milestone >= epochs);
  if (late === undefined) return;
  throw refuse(
    "milestones",
    `epoch ${late} is not before the end of the run, which has ` +
      `${plural(epochs, "epoch")}; expected less than ${epochs}, or none`,
  );
}

/** Batches of precise batch norm where no number is named. */
const preciseBatches = 200;

/** Fills what is left to choose and refuses what cannot be; see ERR_ONEHOUR_RECIPE's message. */
export function resolveRecipe(
  recipe: PartialRecipe,
  { dataset, ...surroundings }: Surroundings & { dataset: Dataset },
): Recipe {
  requirePossible(recipe, surroundings);
  const { height, width } = dataset.images;
  const model = recipe.model ?? (Math.min(height, width) <= 64 ? "resnet8" : "resnet50");
  const workers = recipe.workers ?? 1;
  const { batch, minibatch: _, ...kept } = recipe;
  const accumulate = microBatches({ ...recipe, workers }, dataset.train.length);
  const minibatch = workers * accumulate * batch;
  if (minibatch > dataset.train.length) {
    const most = Math.floor(dataset.train.length / (workers * accumulate));
    throw refuse(
      "batch",
      `a step takes ${workers} × ${accumulate} × ${batch} = ${plural(minibatch, "image")} ` +
        `(workers × accumulate × batch), but ${dataset.name} has ${dataset.train.length}; ` +
        (most >= 1
          ? `expected at most ${setting("batch", most)} here`
          : "expected fewer workers or micro-batches"),
    );
  }

  if (recipe.noiseScale && workers * accumulate === 1) {
    throw refuse(
      "noiseScale",
      "a step of one worker and one micro-batch has no smaller batch to compare its gradient with; try " +
        `${setting("accumulate", 2)} or ${setting("workers", 2)}`,
    );
  }

  const epochs = recipe.epochs ?? dataset.defaultEpochs;
  const stepsPerEpoch = Math.floor(dataset.train.length / minibatch);
  if (stepsOf(epochs, stepsPerEpoch) < 1) {
    throw refuse(
      "epochs",
      `${plural(epochs, "epoch")} ${epochs === 1 ? "is" : "are"} less than a step; expected more`,
    );
  }
  for (const field of ["epochs", "warmupEpochs"] as const) {
    const length = field === "epochs" ? epochs : recipe[field];
    if (Number.isSafeInteger(stepsOf(length, stepsPerEpoch))) continue;
    throw refuse(field, `${length} epochs have more steps than can be counted; expected fewer`);
  }
  const batches = stepsPerEpoch * accumulate;
  const preciseBatchNorm =
    recipe.preciseBatchNorm < 0 ? Math.min(preciseBatches, batches) : recipe.preciseBatchNorm;
  if (preciseBatchNorm > batches) {
    throw refuse(
      "preciseBatchNorm",
      `an epoch has ${plural(batches, "batch")} a worker, fewer than ${preciseBatchNorm}; ` +
        `expected at most ${batches} here`,
    );
  }
  requireBefore(epochs, recipe.milestones);

  return {
    ...kept,
    ...momentumOf(recipe),
    dataset: isModule(recipe.dataset) ? recipe.dataset : dataset.name,
    model,
    workers,
    batch,
    accumulate,
    epochs,
    preciseBatchNorm,
    milestones: sortMilestones(
      recipe.milestones ?? (recipe.lrSchedule === "step" ? defaultMilestones(epochs) : []),
    ),
    ...(recipe.init === undefined ? {} : { init: resolve(recipe.init) }),
    precision: choosePrecision(recipe.precision, surroundings.device),
    device: surroundings.device.kind,
  };
}
