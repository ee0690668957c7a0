// The lines shown before step 1: model, memory, minibatch, learning rate, schedule.

import type { Dataset, ImageShape } from "../data/dataset.js";
import type { Sampler } from "../data/sampler.js";
import type { DeviceProperties, Executor } from "../device/device.js";
import type { CompiledModel } from "../graph/compile.js";
import { elements } from "../graph/graph.js";
import { isModule, modulePath, titleOf } from "../modules/pinned.js";
import type { Recipe } from "../recipe/fields.js";
import { nameOf, setting } from "../recipe/voice.js";
import {
  peakLearningRate,
  referenceMinibatch,
  type ScheduleOptions,
  stepsOf,
  warmupSteps,
} from "../schedules/schedule.js";
import { bytesText, count, counted, plural } from "../text/words.js";

const short = (value: number) => Number(value.toPrecision(4)).toString();

/** `minibatch 2 × 1 × 64 = 128, lr 0.1 × 128/256 = 0.05, …` */
export function describeSchedule(recipe: Recipe, schedule: ScheduleOptions): string {
  const { workers, accumulate, batch, lr, warmup, warmupEpochs, milestones } = recipe;
  const { minibatch, stepsPerEpoch } = schedule;
  const peak = peakLearningRate(lr, minibatch);
  const steps = warmupSteps(schedule);
  const warmupLength = `warm-up ${plural(warmupEpochs, "epoch", short(warmupEpochs))} (${counted(steps, "step")})`;
  const warm =
    warmup === "none"
      ? "no warm-up"
      : minibatch <= referenceMinibatch
        ? `no warm-up (it begins above ${referenceMinibatch} images)`
        : warmup === "gradual"
          ? `${warmupLength} from ${lr}`
          : `${warmupLength} at ${lr}`;
  const total = totalSteps(recipe, stepsPerEpoch);
  const notes = [
    steps > total ? `the run ends within its warm-up, at step ${count(total)}` : "",
    steps > 0 && milestones.some((epoch) => stepsOf(epoch, stepsPerEpoch) < steps)
      ? "a drop falls within the warm-up"
      : "",
  ].filter((note) => note !== "");
  const dropSteps = milestones.map((epoch) => count(stepsOf(epoch, stepsPerEpoch)));
  const { lrSchedule } = recipe;
  const own = isModule(lrSchedule)
    ? `then as ${modulePath(lrSchedule)} says`
    : `${lrSchedule} decay to 0 at step ${count(stepsOf(recipe.epochs, stepsPerEpoch))}`;
  const drops =
    lrSchedule !== "step"
      ? own
      : milestones.length === 0
        ? "no drops"
        : `÷ 10 at epoch ${milestones.map(short).join(", ")} (step ${dropSteps.join(", ")})`;
  return (
    `minibatch ${workers} × ${accumulate} × ${batch} = ${minibatch}, ` +
    `lr ${lr} × ${minibatch}/${referenceMinibatch} = ${short(peak)}, ${warm}, ${drops}` +
    (notes.length > 0 ? ` (${notes.join("; ")})` : "")
  );
}

/** How the gradient is applied, where that is not the paper's SGD. */
function describeUpdate(recipe: Recipe): string[] {
  const { optimizer, momentum, weightDecay, normWeightDecay } = recipe;
  const { clipNorm, emaDecay, emaSteps = 1 } = recipe;
  const rule =
    optimizer === "sgd" ? [] : [`${optimizer}, momentum ${momentum}, weight decay ${weightDecay}`];
  const decay = normWeightDecay ? ["weight decay of batch norm's γ and β too"] : [];
  const limit = clipNorm === undefined ? [] : [`gradients scaled to a norm of at most ${clipNorm}`];
  const every = emaSteps === 1 ? "every step" : `every ${emaSteps} steps`;
  const average =
    emaDecay === undefined ? [] : [`moving average of the weights, decay ${emaDecay} ${every}`];
  const parts = [...rule, ...decay, ...limit, ...average];
  return parts.length === 0 ? [] : [parts.join(", ")];
}

/** `10 epochs of 468 steps, 4,680 steps`, and what --steps changes of that. */
export function describeLength(recipe: Recipe, stepsPerEpoch: number): string {
  const { epochs, steps } = recipe;
  const whole = stepsOf(epochs, stepsPerEpoch);
  const length =
    `${plural(epochs, "epoch", short(epochs))} of ${counted(stepsPerEpoch, "step")}, ` +
    counted(totalSteps(recipe, stepsPerEpoch), "step");
  if (steps === undefined || steps === whole) return length;
  return steps > whole
    ? `${length} (not the ${count(steps)} of ${nameOf("steps")}: the schedule ends; give more ${nameOf("epochs")})`
    : `${length} (${nameOf("steps")} ends the run before the ${count(whole)} of its epochs)`;
}

/** What an epoch shows of the training set, where that is not each image once. */
function describeOrder({ workers, shuffle }: Recipe, remainder: number, images: number): string {
  if (shuffle === "worker" && workers > 1) {
    const unseen = (1 - (images - remainder) / (workers * images)) ** workers;
    return `; each worker has an order of its own: no step of an epoch takes about ${Math.round(100 * unseen)} % of the images`;
  }
  if (remainder === 0) return "";
  return `; the last ${counted(remainder, "image")} of each epoch's order ${remainder === 1 ? "is" : "are"} left out`;
}

/** Steps of a run in all. */
export function totalSteps(recipe: Recipe, stepsPerEpoch: number): number {
  return Math.min(stepsOf(recipe.epochs, stepsPerEpoch), recipe.steps ?? Number.POSITIVE_INFINITY);
}

/**
 * Warns that an older driver has NCCL run the collectives of a CUDA graph one after another; undefined
 * where it doesn't.
 */
export function describeDriver(
  { workers, syncBatchNorm, cudaGraph }: Pick<Recipe, "workers" | "syncBatchNorm" | "cudaGraph">,
  { driver }: { driver?: string | undefined },
): string | undefined {
  if (driver === undefined || !cudaGraph || syncBatchNorm === 0 || workers === 1) return undefined;
  const [major = 0, minor = 0] = driver.split(".").map(Number);
  if (major > 12 || (major === 12 && minor >= 9)) return undefined;
  return (
    `warning: the driver serves CUDA ${driver}, and before 12.9 the collectives of a CUDA graph run one ` +
    `after another: a layer's statistics (${nameOf("syncBatchNorm")}) may wait for a bucket of gradients. ` +
    `Update the driver, or compare with ${setting("cudaGraph", false)}`
  );
}

/** What the lines before the first step are made from. */
interface RunFacts {
  recipe: Recipe;
  dataset: Dataset;
  device: DeviceProperties;
  compiled: CompiledModel;
  executor: Executor;
  sampler: Sampler;
  schedule: ScheduleOptions;
}

const pixels = ({ height, width, channels }: ImageShape) => `${height} × ${width} × ${channels}`;

/** The lines before the first step. */
export function describeRun(facts: RunFacts): string[] {
  const { recipe, dataset, device, compiled, executor, sampler, schedule } = facts;
  const training = counted(dataset.train.length, "training image");
  const test = counted(dataset.test.length, "test image");
  const parameters = compiled.parameters.reduce((sum, { shape }) => sum + elements(shape), 0);
  const { arenas, workspaces, total } = executor.memory;
  const parts = Object.entries(arenas).filter(([, bytes]) => bytes > 0);
  const workspace = Object.values(workspaces).reduce((sum, bytes) => sum + bytes, 0);
  if (workspace > 0) parts.push(["workspace", workspace]);
  const threads = device.kind === "cpu" ? `, ${plural(device.threads, "thread")} a worker` : "";
  const sync =
    recipe.syncBatchNorm === 0
      ? "batch norm per worker"
      : `batch norm over ${recipe.syncBatchNorm < 0 ? "all" : `groups of ${recipe.syncBatchNorm}`} workers`;
  const precise =
    recipe.preciseBatchNorm === 0
      ? ""
      : `, precise over ${counted(recipe.preciseBatchNorm, "batch")}`;
  return [
    `${titleOf(recipe.model)} on ${dataset.name}: ${
      dataset.testImages
        ? `${training} of ${pixels(dataset.images)} and ${test} of ${pixels(dataset.testImages)}`
        : `${count(dataset.train.length)} training and ${test} of ${pixels(dataset.images)}`
    }, ${plural(dataset.classes, "class")}`,
    `${counted(parameters, "parameter")}, ${recipe.precision} on ${device.name}${threads}, ${sync}${precise}`,
    `memory ${bytesText(total)} a worker: ${parts
      .map(([name, bytes]) => `${name} ${bytesText(bytes)}`)
      .join(", ")}`,
    describeSchedule(recipe, schedule),
    ...describeUpdate(recipe),
    describeLength(recipe, sampler.stepsPerEpoch) +
      describeOrder(recipe, sampler.remainder, dataset.train.length),
    ...[describeDriver(recipe, device)].filter((line) => line !== undefined),
  ];
}
