// A recipe: everything that decides a run's numbers. Defaults, and the refusal of impossible ones.

import { resolve } from "node:path";
import { z } from "zod";
import type { Dataset } from "../data/dataset.js";
import type { DeviceProperties } from "../device/device.js";
import { OnehourError } from "../errors.js";
import { defaultMilestones, stepsOf } from "../schedules/schedule.js";
import { nearestOf } from "../text/nearest.js";
import { plural, shown } from "../text/words.js";
import { microBatches } from "./minibatch.js";

const whole = (least: number) =>
  z.int({ error: (issue) => `expected a whole number, got ${shown(issue.input)}` }).min(least, {
    error: (issue) => `expected a whole number of ${least} or more, got ${shown(issue.input)}`,
  });
const positive = z
  .number({ error: (issue) => `expected a number above 0, got ${shown(issue.input)}` })
  .positive({ error: (issue) => `expected a number above 0, got ${shown(issue.input)}` });
const notNegative = z
  .number({ error: (issue) => `expected a number of 0 or more, got ${shown(issue.input)}` })
  .min(0, { error: (issue) => `expected a number of 0 or more, got ${shown(issue.input)}` });
const fraction = z
  .number({
    error: (issue) => `expected a number from 0 up to but not 1, got ${shown(issue.input)}`,
  })
  .min(0, { error: (issue) => `expected 0 or more and less than 1, got ${shown(issue.input)}` })
  .lt(1, { error: (issue) => `expected 0 or more and less than 1, got ${shown(issue.input)}` });
const flag = z.boolean({ error: (issue) => `expected true or false, got ${shown(issue.input)}` });
const text = z
  .string({ error: (issue) => `expected text, got ${shown(issue.input)}` })
  .min(1, { error: "expected text, got nothing" })
  .regex(/^[^\0\p{Cs}]*$/u, {
    error: (issue) => `expected text that a file's name can hold, got ${shown(issue.input)}`,
  });
const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.enum(values, {
    error: (issue) => `expected ${values.join(", ")}; got ${shown(issue.input)}`,
  });

const seedLimit = Number.MAX_SAFE_INTEGER;

/** Fields of a recipe as a user may give them; names are the command line's flags in camelCase. */
export const recipeSchema = z.strictObject({
  /** What to train on, as `openDataset` takes it. */
  dataset: text.default("fashion-mnist"),
  /** Name of a model; resnet8 for small images, resnet50 for large ones. */
  model: text.optional(),
  /** Worker processes k; one a GPU that can be used, or one on the CPU. */
  workers: whole(1).optional(),
  /** Images n per worker and micro-batch. */
  batch: whole(1).default(32),
  /** Micro-batches a of a step; what `minibatch` needs, or 1. */
  accumulate: whole(1).optional(),
  /** Images kn of a step, in place of `accumulate`. */
  minibatch: whole(1).optional(),
  /** Epochs of the schedule, fractional or not. */
  epochs: positive.optional(),
  /** Ends the run after that many steps in all. */
  steps: whole(1).optional(),
  /** Reference learning rate at 256 images. */
  lr: positive.default(0.1),
  warmup: oneOf(["gradual", "constant", "none"]).default("gradual"),
  warmupEpochs: notNegative.default(5),
  /** Epochs at which the rate is divided by ten; 1/3, 2/3 and 8/9 of the epochs. */
  milestones: z
    .array(notNegative, {
      error: (issue) => `expected epochs as numbers, got ${shown(issue.input)}`,
    })
    .optional(),
  momentum: fraction.default(0.9),
  momentumForm: oneOf(["gradient", "velocity"]).default("gradient"),
  /** Whether the velocity form corrects the old velocity when the rate changes (remark 2). */
  momentumCorrection: flag.default(true),
  nesterov: flag.default(true),
  /** λ; every parameter but batch norm's γ and β. */
  weightDecay: notNegative.default(1e-4),
  labelSmoothing: fraction.default(0),
  /** Ranks of a batch-norm group: 0 off, −1 all. */
  syncBatchNorm: whole(-1).default(0),
  /**
   * Batches per worker that running statistics are taken from before each evaluation; 0 off, −1 for
   * 200, or all of an epoch where it has fewer.
   */
  preciseBatchNorm: whole(-1).default(0),
  /** Compute type; fp32 on the CPU, bf16 on a GPU. */
  precision: oneOf(["fp32", "tf32", "bf16"]).optional(),
  device: oneOf(["auto", "cpu", "cuda"]).default("auto"),
  /** Whether a GPU replays each step as one CUDA graph, where that works on every rank. */
  cudaGraph: flag.default(true),
  /** Threads of a worker on the CPU; cores / workers. */
  threads: whole(1).optional(),
  seed: whole(0)
    .max(seedLimit, { error: `expected a whole number up to ${seedLimit}` })
    .default(0),
  /** Whether training images are cropped and flipped at random. */
  augment: flag.default(true),
  /** Pixels of both sides of an image folder's images; 224. */
  imageSize: whole(8).max(4096, { error: "expected a whole number up to 4096" }).optional(),
  /** How far brightness, contrast and saturation of an image folder's images may change; 0. */
  colorJitter: fraction.default(0),
  /** Whether a damaged image ends the run. */
  strict: flag.default(false),
  /** A safetensors file with weights to start from. */
  init: text.optional(),
  /** Minutes between two checkpoints within an epoch; 0 for none. */
  checkpointMinutes: notNegative.default(10),
  /** Run folder; `runs/<dataset>-<model>-<date>`. */
  out: text.optional(),
  /** Seconds without progress after which a worker counts as hung. */
  timeout: positive.default(60),
});

/** A recipe as a user gives it. */
export type RecipeInput = z.input<typeof recipeSchema>;
/** A recipe with the defaults that need neither data nor device filled in. */
export type PartialRecipe = z.output<typeof recipeSchema>;
type Chosen = "model" | "workers" | "accumulate" | "epochs" | "milestones" | "precision";
/** A recipe in which nothing is left to choose; `recipe.json` of a run folder. */
export type Recipe = Omit<PartialRecipe, Chosen | "minibatch"> & {
  [Field in Chosen]-?: Exclude<PartialRecipe[Field], undefined>;
};

function refuse(field: string, problem: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_RECIPE", `${flagOf(field)}: ${problem}`);
}

const flags: Readonly<Record<string, string>> = {
  dataset: "dataset",
  syncBatchNorm: "--sync-bn",
  preciseBatchNorm: "--precise-bn",
};

/** `momentumForm` as a user knows it from the command line: `--momentum-form`. */
function flagOf(field: string): string {
  if (Object.hasOwn(flags, field)) return flags[field]!;
  return `--${field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** What the recipe.json of a run folder has beside the recipe. */
export const digestField = "digest";

/** A recipe by itself: one that was taken from a run folder begins another run as any does. */
export function withoutDigest(input: RecipeInput): RecipeInput {
  return Object.fromEntries(Object.entries(input).filter(([key]) => key !== digestField));
}

/** Checks every field by itself. Throws ERR_ONEHOUR_RECIPE that says what was expected. */
export function parseRecipe(input: RecipeInput): PartialRecipe {
  const given = Object.fromEntries(
    Object.entries(withoutDigest(input)).filter(([, value]) => value !== undefined),
  );
  const parsed = recipeSchema.safeParse(given);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0]!;
    const known = Object.keys(recipeSchema.shape);
    const nearest = nearestOf(key, known);
    throw new OnehourError(
      "ERR_ONEHOUR_RECIPE",
      `a recipe has no field ${shown(key)}; did you mean "${nearest}"?`,
    );
  }
  throw refuse(String(issue.path[0] ?? "recipe"), issue.message);
}

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
    throw refuse("precision", "tf32 needs a GPU; expected fp32 or bf16 on the CPU");
  }
  return precision;
}

/**
 * A recipe with some fields changed. Default milestones go with the epochs: where only these are
 * changed, milestones that were the defaults before are left to be chosen again. Of `accumulate` and
 * `minibatch`, which name the same, the change counts.
 */
export function overrideRecipe(recipe: RecipeInput, changes: RecipeInput): RecipeInput {
  const kept = { ...recipe };
  const isDefault =
    recipe.epochs !== undefined &&
    JSON.stringify(recipe.milestones) === JSON.stringify(defaultMilestones(recipe.epochs));
  if (isDefault && changes.epochs !== undefined) delete kept.milestones;
  if (changes.minibatch !== undefined) delete kept.accumulate;
  if (changes.accumulate !== undefined) delete kept.minibatch;
  return { ...kept, ...changes };
}

/** What a recipe's open fields are filled from. */
export interface RecipeFacts {
  dataset: Dataset;
  device: DeviceKind;
  /** Names of the models there are. */
  models: readonly string[];
}

/** Batches of precise batch norm where no number is named. */
const preciseBatches = 200;

/** Fills what is left to choose and refuses what cannot be; see ERR_ONEHOUR_RECIPE's message. */
export function resolveRecipe(recipe: PartialRecipe, facts: RecipeFacts): Recipe {
  const { dataset, device, models } = facts;
  const { height, width } = dataset.images;
  const model = recipe.model ?? (Math.min(height, width) <= 64 ? "resnet8" : "resnet50");
  if (!models.includes(model)) {
    const nearest = nearestOf(model, models);
    throw refuse(
      "model",
      `there is no model ${shown(model)}; did you mean "${nearest}"? Models: ${models.join(", ")}`,
    );
  }

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
          ? `expected at most --batch ${most} here`
          : "expected fewer workers or micro-batches"),
    );
  }

  const group = recipe.syncBatchNorm;
  if (group > 0 && workers % group !== 0) {
    throw refuse(
      "syncBatchNorm",
      workers === 1
        ? "there is one worker only; try --workers 2"
        : `${workers} workers cannot be divided into groups of ${group}; expected a divisor of ${workers}`,
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
  for (const milestone of recipe.milestones ?? []) {
    if (milestone >= epochs) {
      throw refuse(
        "milestones",
        `epoch ${milestone} is not before the end of the run, which has ` +
          `${plural(epochs, "epoch")}; expected less than ${epochs}, or none`,
      );
    }
  }

  return {
    ...kept,
    dataset: dataset.name,
    model,
    workers,
    batch,
    accumulate,
    epochs,
    preciseBatchNorm,
    milestones: sortMilestones(recipe.milestones ?? defaultMilestones(epochs)),
    ...(recipe.init === undefined ? {} : { init: resolve(recipe.init) }),
    precision: choosePrecision(recipe.precision, device),
    device: device.kind,
  };
}
