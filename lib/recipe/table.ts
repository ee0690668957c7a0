// The fields of a recipe, a row each: what follows from a field (its check, default, flag, help,
// documentation and what may change on resume) follows from its row.

import { builtInForms } from "../data/built-in/names.js";
import { shuffles } from "../data/sampler.js";
import { deviceChoices } from "../device/device.js";
import { precisions } from "../graph/compiled.js";
import { modelsInShort } from "../models/models.js";
import { optimizers } from "../ops/optimizers/index.js";
import { momentumForms } from "../ops/optimizers/optimizer.js";
import { schedules } from "../schedules/index.js";
import { warmups } from "../schedules/schedule.js";
import { type Field, field } from "./field.js";
import {
  epochList,
  flag,
  fraction,
  keyOf,
  notNegative,
  oneOf,
  positive,
  text,
  whole,
} from "./kinds.js";
import { optimizersWhere, perOptimizer } from "./per-optimizer.js";

export const table = {
  dataset: field(text.default("fashion-mnist"), {
    group: "Data and network",
    flag: "[dataset]",
    help: `the images: ${builtInForms}, a folder with train/ and val/, or a module, ./data.ts`,
    isModule: true,
    alias: "data data-dir data-path data-root train-dir root",
  }),
  model: field(text.optional(), {
    group: "Data and network",
    flag: "--model <name|file>",
    help: `the network: ${modelsInShort}, or a module, ./net.ts`,
    isModule: true,
    otherwise: "resnet8 or resnet50, by the images' size",
    alias: "arch architecture network net backbone model-name",
  }),
  imageSize: field(whole(8, 4096).optional(), {
    group: "Data and network",
    flag: "--image-size <pixels>",
    help: "width and height of an image folder's images",
    otherwise: "224",
    alias: "img-size input-size crop-size train-crop-size resolution size",
  }),
  testImageSize: field(whole(8, 4096).optional(), {
    group: "Data and network",
    flag: "--test-image-size <pixels>",
    help: "width and height of an image folder's images where they are tested",
    otherwise: "as in training",
    alias: "val-crop-size eval-crop-size test-crop-size val-image-size val-size test-size",
  }),
  testResize: field(whole(8, 8192).optional(), {
    group: "Data and network",
    flag: "--test-resize <pixels>",
    help: "shorter side that an image folder's test images are resized to before their centre is cut out",
    otherwise: "8/7 of their size: 256 for 224",
    alias: "val-resize-size eval-resize-size resize-size resize crop-pct test-resize-size",
  }),
  augment: field(flag.default(true), {
    group: "Data and network",
    flag: "--no-augment",
    help: "random crops and flips of training images",
    alias: "augmentation data-augmentation no-aug",
  }),
  colorJitter: field(fraction.default(0), {
    group: "Data and network",
    flag: "--color-jitter <j>",
    help: "change brightness, contrast and saturation of an image folder's images by up to j",
    alias: "jitter",
  }),
  strict: field(flag.default(false), {
    group: "Data and network",
    flag: "--strict",
    help: "end the run at the first damaged image, instead of replacing it",
    onResume: true,
  }),
  init: field(text.optional(), {
    group: "Data and network",
    flag: "--init <file>",
    help: "start from the weights of a checkpoint, or of torchvision (.safetensors)",
    alias: "pretrained weights initial-checkpoint load checkpoint finetune",
  }),
  seed: field(whole(0).default(0), {
    group: "Data and network",
    flag: "--seed <s>",
    help: "random seed of initial weights, order and augmentation",
    alias: "random-seed manual-seed seed-everything",
  }),
  zeroGamma: field(flag.default(true), {
    group: "Data and network",
    flag: "--no-zero-gamma",
    help: "beginning with γ = 0 in the last batch norm of each residual block (paper, section 5.1)",
    alias: "zero-init-residual zero-init-last zero-init-last-gamma zero-init",
  }),
  shuffle: field(oneOf(shuffles).default("global"), {
    group: "Data and network",
    flag: "--shuffle",
    help: "one order an epoch, divided among the workers, or an order of all images for each (the paper's remark 4)",
    alias: "shuffling sampler",
  }),

  workers: field(whole(1).optional(), {
    group: "Minibatch",
    flag: "--workers <k>",
    help: "worker processes k",
    otherwise: "one a GPU, or 1",
    alias: "world-size nproc nproc-per-node num-processes gpus num-gpus ngpus devices n-gpu",
    onResume: "together",
  }),
  batch: field(whole(1).default(32), {
    group: "Minibatch",
    flag: "--batch <n>",
    help: "images n per worker and micro-batch",
    alias: "batch-size bs b train-batch-size per-device-train-batch-size samples-per-gpu",
  }),
  accumulate: field(whole(1).optional(), {
    group: "Minibatch",
    flag: "--accumulate <a>",
    help: "micro-batches a of a step, whose gradients are added up",
    otherwise: "1",
    alias:
      "grad-accum-steps grad-accum accumulation-steps accum-steps accum gradient-accumulation-steps " +
      "accumulate-grad-batches",
    onResume: "together",
  }),
  minibatch: field(whole(1).optional(), {
    group: "Minibatch",
    flag: "--minibatch <kn>",
    help: "images of a step, workers × accumulate × batch; chooses the micro-batches",
    alias: "global-batch-size total-batch-size mini-batch-size effective-batch-size",
  }),

  epochs: field(positive.optional(), {
    group: "Length",
    flag: "--epochs <E>",
    help: "length of the schedule, fractional or not",
    otherwise: "the data set's: 90 for a folder, 10 for the others",
    alias: "max-epochs num-epochs n-epochs nb-epoch num-train-epochs",
  }),
  steps: field(whole(1).optional(), {
    group: "Length",
    flag: "--steps <S>",
    help: "end the run after this many steps in all",
    otherwise: "all steps of the epochs",
    alias: "max-steps num-steps iterations iters max-iter max-iters",
    onResume: true,
  }),

  lr: field(positive.default(0.1), {
    group: "Learning rate",
    flag: "--lr <rate>",
    help: "learning rate at 256 images; the peak is lr·kn/256",
    alias: "learning-rate base-lr initial-lr init-lr lr0 eta blr",
  }),
  lrSchedule: field(text.default("step"), {
    group: "Learning rate",
    flag: "--lr-schedule <name|file>",
    help:
      `how the rate falls from the peak: ${Object.keys(schedules).join(", ")}, or a module of yours ` +
      "(./schedule.ts)",
    isModule: true,
    alias: "schedule scheduler lr-scheduler sched lr-policy lr-scheduler-type lr-decay",
  }),
  warmup: field(keyOf(warmups).default("gradual"), {
    group: "Learning rate",
    flag: "--warmup",
    help: "how the rate goes from lr to the peak, where kn > 256",
    alias: "lr-warmup-method warmup-method lr-warmup",
  }),
  warmupEpochs: field(notNegative.default(5), {
    group: "Learning rate",
    flag: "--warmup-epochs <E>",
    help: "length of the warm-up",
    alias: "lr-warmup-epochs warmup-steps warmup-ratio warmup-t",
  }),
  milestones: field(epochList.optional(), {
    group: "Learning rate",
    flag: "--milestones <E,...|none>",
    help: "epochs from which on the rate is ten times smaller",
    otherwise: "1/3, 2/3 and 8/9 of all with the schedule step, else none",
    alias: "lr-milestones decay-milestones decay-epochs lr-steps lr-step-size step-size lr-drop",
  }),

  optimizer: field(keyOf(optimizers).default("sgd"), {
    group: "Optimizer",
    flag: "--optimizer",
    help: `the update of the weights: ${Object.entries(optimizers)
      .map(([name, { help }]) => `${name} ${help}`)
      .join("; ")}`,
    alias: "opt optim optimiser",
  }),
  momentum: field(fraction.default(0.9), {
    group: "Optimizer",
    flag: "--momentum <m>",
    help: "momentum m of the optimizer",
    alias: "beta mu beta1",
  }),
  momentumForm: field(oneOf(momentumForms).optional(), {
    group: "Optimizer",
    flag: "--momentum-form",
    help: "what the momentum adds up: u ← m·u + g, or v ← m·v + η·g",
    otherwise: perOptimizer("momentumForm"),
  }),
  momentumCorrection: field(flag.optional(), {
    group: "Optimizer",
    flag: "--no-momentum-correction",
    help: "the velocity form's correction when the rate changes (the paper's remark 2)",
    otherwise: perOptimizer("momentumCorrection"),
  }),
  nesterov: field(flag.optional(), {
    group: "Optimizer",
    flag: "--no-nesterov",
    help: "Nesterov's momentum",
    otherwise: perOptimizer("nesterov"),
  }),
  weightDecay: field(notNegative.default(1e-4), {
    group: "Optimizer",
    flag: "--weight-decay <λ>",
    help: `weight decay λ of every parameter but batch norm's γ and β (and, with ${optimizersWhere(({ spares }) => spares.includes("bias"))}, biases)`,
    alias: "wd l2 decay weight-decay-rate l2-reg",
  }),
  normWeightDecay: field(flag.default(false), {
    group: "Optimizer",
    flag: "--norm-weight-decay",
    help: "weight decay of batch norm's γ and β too, which the paper spares",
    alias: "bn-weight-decay wd-norm decay-norm",
  }),
  clipNorm: field(positive.optional(), {
    group: "Optimizer",
    flag: "--clip-norm <c>",
    help: "scale a step's gradient down to a norm of at most c, over all parameters",
    otherwise: "no limit",
    alias:
      "clip-grad clip-grad-norm max-grad-norm grad-clip grad-clip-norm gradient-clip-val clipnorm " +
      "global-clipnorm clip",
  }),
  labelSmoothing: field(fraction.default(0), {
    group: "Optimizer",
    flag: "--label-smoothing <s>",
    help: "share of the target that is spread evenly over all classes",
    alias: "smoothing label-smooth",
  }),
  emaDecay: field(fraction.optional(), {
    group: "Optimizer",
    flag: "--ema-decay <d>",
    help: "also keep an exponential moving average of the weights: average ← d·average + (1 − d)·weights",
    otherwise: "no average",
    alias: "ema model-ema model-ema-decay polyak-averaging averaging swa",
  }),
  emaSteps: field(whole(1).optional(), {
    group: "Optimizer",
    flag: "--ema-steps <N>",
    help: "move the average every N steps",
    otherwise: "1",
    alias: "model-ema-steps ema-every ema-interval ema-update-every",
  }),
  noiseScale: field(flag.default(false), {
    group: "Optimizer",
    flag: "--noise-scale",
    help: "measure the gradient noise scale, which says how large a minibatch is of use",
    alias: "gradient-noise-scale gns",
    trainOnly: "train() measures it; a loop of your own does not",
    onResume: true,
  }),

  syncBatchNorm: field(whole(-1).default(0), {
    group: "Batch norm",
    flag: "--sync-bn [g]",
    help: "statistics over all ranks, or over groups of g ranks; 0 is off, −1 all ranks",
    bare: -1,
    alias: "sync-batchnorm syncbn sync-batch-norm",
  }),
  preciseBatchNorm: field(whole(-1).default(0), {
    group: "Batch norm",
    flag: "--precise-bn [B]",
    help:
      "running statistics from B batches a worker before each evaluation; 0 is off, −1 is 200, or " +
      "an epoch's",
    bare: -1,
    alias: "precise-batchnorm",
  }),

  device: field(oneOf(deviceChoices).default("auto"), {
    group: "Device",
    flag: "--device",
    help: "where to compute",
    alias: "accelerator backend gpu no-cuda use-gpu",
    onResume: true,
  }),
  precision: field(oneOf(precisions).optional(), {
    group: "Device",
    flag: "--precision",
    help: "number format to compute in; the weights stay fp32, and fp16 scales the loss",
    otherwise: "fp32 on the CPU, bf16 on a GPU",
    alias: "amp mixed-precision dtype amp-dtype bfloat16 float16 half use-amp",
  }),
  threads: field(whole(1).optional(), {
    group: "Device",
    flag: "--threads <T>",
    help: "threads of a worker on the CPU",
    otherwise: "cores / workers",
    alias: "num-threads omp-num-threads cpu-threads",
    onResume: true,
    perRank: true,
  }),
  bind: field(flag.default(true), {
    group: "Device",
    flag: "--no-bind",
    help: "moving each worker to the processors next to its GPU, on a machine of several NUMA nodes",
    alias: "numa-affinity cpu-affinity cpu-bind numactl bind-to",
    onResume: true,
    perRank: true,
  }),
  cudaGraph: field(flag.default(true), {
    group: "Device",
    flag: "--no-cuda-graph",
    help: "replaying each step as one CUDA graph, on a GPU where that works on every rank",
    alias: "cuda-graphs",
    onResume: true,
  }),

  out: field(text.optional(), {
    group: "Run folder",
    flag: "--out <folder>",
    help: "run folder",
    otherwise: "runs/<dataset>-<model>-<date>",
    alias:
      "output output-dir out-dir save-dir log-dir work-dir checkpoint-dir run-dir experiment " +
      "default-root-dir save",
    onResume: true,
    perRank: true,
  }),
  checkpointMinutes: field(notNegative.default(10), {
    group: "Run folder",
    flag: "--checkpoint-minutes <N>",
    help: "minutes between two checkpoints within an epoch; 0 for none",
    alias:
      "checkpoint-every checkpoint-interval save-interval save-every save-freq checkpoint-hist",
    trainOnly: "train() saves by the clock; a loop of your own where it calls save()",
    onResume: true,
  }),
  tensorboard: field(flag.default(false), {
    group: "Run folder",
    flag: "--tensorboard",
    help: "write the log as TensorBoard event files too, into tensorboard/ of the run folder",
    alias: "tensorboard-dir tensorboard-logdir",
    trainOnly: "train() writes event files, of its log; a loop of your own has none",
    onResume: true,
  }),
  trace: field(whole(1, 1000).optional(), {
    group: "Run folder",
    flag: "--trace <steps>",
    help: "write when each instruction of so many steps ran, on all workers, to trace.json",
    otherwise: "no file",
    alias: "profile profiler trace-steps profile-steps",
    trainOnly: "train() writes trace.json; a loop of your own does not",
    onResume: true,
  }),
  timeout: field(positive.default(60), {
    group: "Run folder",
    flag: "--timeout <seconds>",
    help: "stop when a worker makes no progress for this long",
    alias: "dist-timeout ddp-timeout",
    onResume: true,
    perRank: true,
  }),
};

export type Table = typeof table;
export type FieldName = keyof Table;

/** The rows, with what all of them have. */
export const rows = Object.entries(table) as [FieldName, Field][];

/** The fields of rows that fulfil a condition. */
export function fieldsWhere(is: (row: Field) => boolean): ReadonlySet<FieldName> {
  return new Set(rows.filter(([, row]) => is(row)).map(([name]) => name));
}

/** What a row's values are, and their words where there are only some. */
export function kindOf({ schema }: Pick<Field, "schema">): { type: string; words: string[] } {
  let { def } = schema as { def: { type: string; innerType?: Field["schema"]; entries?: object } };
  while (def.innerType) def = (def.innerType as unknown as { def: typeof def }).def;
  return { type: def.type, words: Object.keys(def.entries ?? {}) };
}

/** The value that a field has where none is given; undefined where it is chosen later. */
export const defaultOf = (row: Field): unknown => row.schema.parse(undefined);
