// Evaluation on a whole test set, each image once, whatever the number of ranks.

import { statSync } from "node:fs";
import { join } from "node:path";
import { inAdvance } from "../arrays/in-advance.js";
import { type Dataset, type DatasetOptions, testShape } from "../data/dataset.js";
import { openDataset } from "../data/datasets.js";
import { sidesOf } from "../data/images/sides.js";
import { Loader } from "../data/loader.js";
import type { DeviceChoice } from "../device/device.js";
import { openDevice } from "../device/open.js";
import { OnehourError } from "../errors.js";
import { compile, type Precision, type TensorLayout } from "../graph/compile.js";
import { buildModel, models, openModel } from "../models/models.js";
import { isModule, shortName, titleOf } from "../modules/pinned.js";
import { alone, type World } from "../ranks/world.js";
import { readFields } from "../recipe/fields.js";
import { pinModules, requireOwnModules } from "../recipe/modules.js";
import { requireOptions } from "../recipe/options.js";
import { choosePrecision } from "../recipe/recipe.js";
import { setting } from "../recipe/voice.js";
import {
  type Checkpoint,
  checkpointName,
  emaPrefix,
  readCheckpoint,
  type Shapes,
} from "../run-folder/checkpoint.js";
import { requireModelWeights } from "../run-folder/model-weights.js";
import { refuseFile } from "../run-folder/refuse-file.js";
import { seconds } from "../system/clock.js";
import { liveInterval, type Stage } from "../terminal/stages.js";
import { commandLine } from "../text/command.js";
import { count, counted, warning } from "../text/words.js";
import { batchesAhead, slotsFor } from "./prepare.js";
import { writeWeights } from "./state.js";
import { Queue } from "./step-queue.js";

/** Result on a test set. */
export interface Evaluation {
  /** Fraction of images whose label has the largest logit, or one of the five largest. */
  top1: number;
  top5: number;
  /** Mean cross-entropy. */
  loss: number;
  correct: number;
  /** Images counted; all of the test set's. */
  images: number;
  /** A warning, where the weights were trained on another data set than they are tested on. */
  otherData?: string;
  /** What was wrong with which images; those of which nothing could be decoded count as grey. */
  damaged?: string[];
}

/** How a test set is evaluated. */
interface SplitOptions {
  /** The ranks that share it; this one alone by default. */
  world?: World;
  /** Whether to break off; the ranks need not agree. */
  stopped?: () => boolean;
  /** Whether to test the moving average of the weights instead. */
  ema?: boolean;
  /** Called with how far this rank is, as if the others were as far. */
  onProgress?: ((stage: Stage) => void) | undefined;
}

/**
 * Runs the program `evaluate`, or that of the moving average, on this rank's share of the test set and sums over
 * the ranks. Undefined when `stopped` turned true on the way, on any rank.
 */
export async function evaluateSplit(
  queue: Queue,
  loader: Loader,
  dataset: Dataset,
  batch: number,
  { world = alone, stopped = () => false, ema = false, onProgress }: SplitOptions = {},
): Promise<Evaluation | undefined> {
  const { length } = dataset.test;
  const begin = Math.floor((world.rank * length) / world.worldSize);
  const end = Math.floor(((world.rank + 1) * length) / world.worldSize);
  const totals = new Float64Array(4);
  const fill = async (first: number) => {
    const slot = await queue.acquire();
    const count = Math.min(batch, end - first);
    await loader.fillEvaluation(queue.executor.input(slot), first, count);
    return slot;
  };
  let next = begin;
  let told = 0;
  const tell = () => {
    if (!onProgress || seconds() - told < liveInterval) return;
    told = seconds();
    const [, top1, , images] = totals as unknown as [number, number, number, number];
    onProgress(evaluationStage(images / (end - begin), length, top1 / images, ema));
  };
  const slots = inAdvance(batchesAhead(dataset, batch), () => {
    if (next >= end || stopped()) return undefined;
    const slot = fill(next);
    next += batch;
    return slot;
  });
  for await (const slot of slots) {
    queue.submit(ema ? "evaluate-ema" : "evaluate", slot, (ended) => {
      const { loss, top1, top5, images } = queue.metrics(ended);
      [loss, top1, top5, images].forEach((value, i) => {
        totals[i]! += value;
      });
      tell();
    });
  }
  await queue.drain();
  await world.allReduce(totals);
  const [loss, top1, top5, images] = totals as unknown as [number, number, number, number];
  if (images < length) return undefined;
  return { top1: top1 / images, top5: top5 / images, loss: loss / images, correct: top1, images };
}

/** The stage of evaluating so many images. */
function evaluationStage(share: number, images: number, top1: number, ema: boolean): Stage {
  const done = Math.round(share * images);
  const accuracy = `${(100 * top1).toFixed(2)}% correct so far`;
  return {
    text: ema ? "evaluating the moving average" : "evaluating",
    share,
    details: [`${count(done)} of ${counted(images, "image")}`, accuracy],
  };
}

export interface EvaluateOptions {
  /**
   * The model whose weights the file holds, or the module of one; by default that of the run, or found by
   * names and shapes.
   */
  model?: string;
  device?: DeviceChoice;
  threads?: number;
  /** Images of a batch; changes the speed only. */
  batch?: number;
  precision?: Precision;
  /** Pixels of both sides of an image folder's images; those that the run tested, or 224. */
  imageSize?: number;
  /** Pixels of their shorter side before the centre is cut out; as large beside `imageSize` as in the run, or 8/7. */
  testResize?: number;
  /** Whether to test the moving average of the weights, which the run of the checkpoint kept. */
  ema?: boolean;
  /** Called with what the user should know about the data set, and what was mended when it was opened. */
  warn?: (text: string) => void;
  /** Called with progress: what is being done, how far it is, and what is known so far. */
  onProgress?: (stage: Stage) => void;
}

const optionNames = [
  ...["model", "device", "threads", "batch", "precision", "imageSize"],
  "testResize",
  ...["ema", "warn", "onProgress"],
];

/** Undefined for a model that cannot take the data set's images. */
function layoutsFor(
  model: string,
  layouts: (model: string) => readonly TensorLayout[],
): readonly TensorLayout[] | undefined {
  try {
    return layouts(model);
  } catch (error) {
    if (error instanceof OnehourError && error.code === "ERR_ONEHOUR_SHAPE") return undefined;
    throw error;
  }
}

/** The model with which the file shares most tensors, by name and shape, of all it has or needs. */
function nearestModel(
  { shapes }: { shapes: ReadonlyMap<string, readonly number[]> },
  layouts: (model: string) => readonly TensorLayout[],
): string {
  const share = (model: string) => {
    const wanted = layoutsFor(model, layouts);
    if (wanted === undefined) return 0;
    const found = wanted.filter(({ name, shape }) => String(shapes.get(name)) === String(shape));
    return found.length / (wanted.length + shapes.size - found.length);
  };
  const ranked = Object.keys(models).map((model) => ({ model, share: share(model) }));
  return ranked.sort((a, b) => b.share - a.share)[0]!.model;
}

/** A data set by its fingerprint, without what changes its images' size and colors only. */
function identity(fingerprint: string): string {
  const [kind, ...parts] = fingerprint.split(":");
  return [kind, ...(kind === "folder" ? parts.slice(-1) : parts)].join(":");
}

/** A data set by its fingerprint, as a user knows it. */
function dataName(fingerprint: string): string {
  const [kind = ""] = fingerprint.split(":");
  if (kind === "synthetic") return fingerprint;
  return kind === "folder" ? "a folder of other images" : `${kind} of other files`;
}

function describeOtherData(file: string, trained: string | undefined, tested: Dataset) {
  if (trained === undefined || identity(trained) === identity(tested.fingerprint)) return undefined;
  return `${file} was trained on ${dataName(trained)}, and is tested on ${tested.name}`;
}

/**
 * The model and data set to test: as given, or as the checkpoint's run names them. Its modules are those of
 * the run, but never ones in the folder of `file`, its checkpoint, unless they are given.
 */
function subject(
  file: string,
  checkpoint: Checkpoint,
  dataset: string | undefined,
  model: string | undefined,
) {
  const { recipe = {} } = checkpoint;
  const given = { ...(dataset ? { dataset } : {}), ...(model ? { model } : {}) };
  const own = typeof recipe.model === "string" && isModule(recipe.model) ? recipe.model : undefined;
  const stored = {
    ...(typeof recipe.dataset === "string" ? { dataset: recipe.dataset } : {}),
    ...(own ? { model: own } : {}),
  };
  const whole = { ...stored, ...given };
  requireOwnModules(whole, given, file);
  return pinModules(whole);
}

/** A checkpoint whose weights are the moving average that it holds; ERR_ONEHOUR_CHECKPOINT where there is none. */
function averageOf<T extends Checkpoint & { shapes: Shapes }>(file: string, checkpoint: T): T {
  const { ema, shapes } = checkpoint;
  if (!ema) {
    throw refuseFile(
      file,
      "it holds no moving average of the weights",
      `test the weights themselves, or train with ${setting("emaDecay", 0.999)}`,
    );
  }
  const own = [...shapes].filter(([name]) => name.startsWith(emaPrefix));
  const named = own.map(([name, shape]) => [name.slice(emaPrefix.length), shape] as const);
  return { ...checkpoint, weights: ema.weights, shapes: new Map(named) };
}

/** How large the run of a checkpoint had its test images; ERR_ONEHOUR_CHECKPOINT where that cannot be. */
function testedSides(
  file: string,
  { imageSize, recipe = {} }: Checkpoint,
): Pick<DatasetOptions, "defaultSize" | "defaultScale"> {
  const { testImageSize, testResize } = recipe;
  try {
    const kept = readFields({ testImageSize, testResize }, "fields");
    const { size, shortSide } = sidesOf({ imageSize, ...kept }).test;
    return { defaultSize: size, defaultScale: shortSide / size };
  } catch (error) {
    if (!(error instanceof OnehourError)) throw error;
    throw refuseFile(
      file,
      `its recipe has ${error.message}`,
      "expected a checkpoint as its run wrote it",
    );
  }
}

/** ERR_ONEHOUR_RECIPE for a file that names no data set. */
function noDataset(file: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_RECIPE",
    `${file} does not say which data set it was trained on; name one to test it on: ` +
      commandLine("evaluate", file, "DATASET"),
  );
}

/**
 * Evaluates the weights of a safetensors file (a checkpoint, or torchvision's names), or of a run
 * folder's checkpoint, on the whole test set of a data set: by default the one that the checkpoint was
 * trained on, which only this program's name. Throws ERR_ONEHOUR_CHECKPOINT when the file is broken or of
 * no model for this data set, ERR_ONEHOUR_USAGE for an option that there is not, ERR_ONEHOUR_RECIPE for a value
 * that it cannot have, a precision that the device cannot do, or where no
 * data set is named.
 */
export async function evaluateCheckpoint(
  path: string,
  datasetName?: string,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  requireOptions(options, "evaluateCheckpoint", optionNames);
  const { warn, onProgress, ema = false, ...given } = options;
  const fields = readFields(given);
  const file = statSync(path, { throwIfNoEntry: false })?.isDirectory()
    ? join(path, checkpointName)
    : path;
  const saved = await readCheckpoint(file);
  const checkpoint = ema ? averageOf(file, saved) : saved;
  const { dataset: name, model: ownModel } = subject(file, checkpoint, datasetName, fields.model);
  if (name === undefined) throw noDataset(file);
  if (ownModel !== undefined) await openModel(ownModel);
  if (datasetName === undefined) warn?.(`data set: ${shortName(name)}, as in the run of ${file}`);
  const dataset = await openDataset(name, {
    imageSize: fields.imageSize,
    testResize: fields.testResize,
    ...testedSides(file, checkpoint),
    warn: warn,
    say: onProgress,
  });
  using _ = { [Symbol.dispose]: () => dataset[Symbol.dispose]?.() };
  for (const note of dataset.notes ?? []) warn?.(note);
  using device = openDevice({
    device: fields.device ?? "auto",
    ...(fields.threads === undefined ? {} : { threads: fields.threads }),
  });
  const precision = choosePrecision(fields.precision, device.properties);
  const batch = Math.max(1, Math.min(fields.batch ?? 100, dataset.test.length));
  const { classes, mean, std } = dataset;
  const image = testShape(dataset);
  const slots = slotsFor(batchesAhead(dataset, batch));
  const compiled = (name: string) =>
    compile(buildModel(name, { channels: image.channels, classes }), {
      device,
      image,
      mean,
      std,
      batch,
      precision,
      slots,
    });
  const layouts = (name: string) => {
    const { parameters, statistics } = compiled(name);
    return [...parameters, ...statistics];
  };
  const modelName = ownModel ?? checkpoint.model ?? nearestModel(checkpoint, layouts);
  requireModelWeights(file, checkpoint, layouts(modelName), titleOf(modelName));

  const model = compiled(modelName);
  onProgress?.({ text: "loading the programs" });
  const executor = await device.load(model.programs);
  try {
    await writeWeights(executor, model, { weights: checkpoint.weights });
    const loader = new Loader({ dataset, layout: model.input, batch, seed: 0, augment: false });
    const queue = new Queue(executor, model.output);
    const evaluation = (await evaluateSplit(queue, loader, dataset, batch, { onProgress }))!;
    const damaged = dataset.inspection?.takeNew().map(({ text }) => text) ?? [];
    if (!Number.isFinite(evaluation.loss)) {
      warn?.(
        warning(
          `the test loss is ${evaluation.loss}, although all weights of ${file} are finite: outputs ` +
            "overflow. Such images count as wrong",
        ),
      );
    }
    const otherData = describeOtherData(file, checkpoint.data, dataset);
    return {
      ...evaluation,
      ...(otherData ? { otherData } : {}),
      ...(damaged.length > 0 ? { damaged } : {}),
    };
  } finally {
    executor.dispose();
  }
}
