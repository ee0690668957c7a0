// The types of compilation: what the programs compute, and what describes them.
import type { Optimizer } from "../ops/optimizers/optimizer.js";
import type { Averages, Bucket, Slice, TensorLayout } from "./layout.js";
import type { DataType } from "./tensor.js";

/** The types of activations and of the weights that products read, by precision; all else is f32. */
export const storedTypes = {
  fp32: "f32",
  tf32: "f32",
  bf16: "bf16",
  fp16: "f16",
} as const satisfies Record<string, DataType>;

/** What convolutions and products compute in. */
export type Precision = keyof typeof storedTypes;

export const precisions = Object.keys(storedTypes) as [Precision, ...Precision[]];

/** Whether the weights that products read are copies in fewer bits. */
export const hasCopies = (precision: Precision): boolean => storedTypes[precision] !== "f32";

/** What a backend offers: a `Device`, or what is known of one. */
export interface Target {
  /** Ops that it has kernels for; they decide the fusions. */
  readonly operations: ReadonlySet<string>;
  readonly properties: {
    /** Image channels are zero-padded to a multiple of this. */
    readonly channelMultiple: number;
  };
}

/** Height and width of images. */
export interface Pixels {
  height: number;
  width: number;
}

/** What the programs compute, for which device. */
export interface CompileOptions {
  device: Target;
  /** Pixels of the images. */
  image: Pixels;
  /** Of the images that are evaluated; as `image`. */
  testImage?: Pixels;
  /** Per image channel, for pixels in [0, 1]. */
  mean: readonly number[];
  std: readonly number[];
  /** n: images per worker and micro-batch. */
  batch: number;
  /** a: micro-batches per step; 1. */
  accumulate?: number;
  /** k; 1. */
  workers?: number;
  /** fp32 unless given. */
  precision?: Precision;
  /** Ranks that share batch-norm statistics; 1: each has its own. */
  syncBatchNorm?: number;
  /** Batches whose mean statistics the program `statistics` gives; 0: there is no such program. */
  preciseBatchNorm?: number;
  /** Share of the target that all classes get alike; 0. */
  labelSmoothing?: number;
  /** Whether each step moves an exponential moving average of parameters and running statistics; false. */
  ema?: boolean;
  /** Whether a step's norms of smaller and larger batches' gradients are taken, for the noise scale; false. */
  noiseScale?: boolean;
  /** Steps in flight: copies of the input and output arenas; 2. */
  slots?: number;
}

/** Options in which nothing is left to choose. */
export type Settings = Required<CompileOptions>;

/** How a training step changes the parameters. */
export interface Update {
  optimizer: Optimizer;
  /** The mean gradient's norm is limited to this, by scaling all of it. */
  clipNorm?: number | undefined;
  /**
   * Whether the gradients stay in `grad` after a step, for its caller to read. With micro-batches, which add
   * to them, the caller then clears them before each step.
   */
  keepsGradients?: boolean | undefined;
}

/**
 * Ranges in an input slot. `schedule` is (η, c) of the step, f32 [2]; `ema` the share of the new model in the
 * moving average, f32 [1], where there is one: 0 for a step that does not move it.
 */
export interface StepInput {
  images: Slice;
  flips: Slice;
  labels: Slice;
  schedule: Slice;
  ema?: Slice;
}

/**
 * Ranges in an output slot for the gradient noise scale: rows of three numbers, of which the second is the sum
 * of squares of a part of a gradient. Those of `small` add up to Σ‖g‖² of the smaller batches: of the workers'
 * gradients, or where there is one worker, in the slot of its first micro-batch, of that one's. Those of
 * `large` add up to that of the minibatch. `scale` is what the loss was multiplied by, f32 [1], or empty.
 */
export interface NoiseOutput {
  small: Slice;
  large: Slice;
  scale: Slice;
}

export interface CompiledModel {
  programs: { name: string; text: string }[];
  /** In the order of the arenas; `offset` is in `param`, and alike in `grad` and `state` (momentum). */
  parameters: TensorLayout[];
  /** Running statistics; `offset` is in `state`. */
  statistics: TensorLayout[];
  input: StepInput;
  /** Ranges in an output slot; `finite` has a number a bucket, `scaling` is that of `state`. */
  output: { metrics: Slice; finite: Slice; scaling: Slice; noise?: NoiseOutput | undefined };
  /** Momentum is `state` from 0 to here; nowhere, where nothing is trained. */
  momentum: { bytes: number };
  /** Range of `state` that holds the running statistics. */
  running: Slice;
  /** Where the moving average lies, if there is one. */
  ema: Averages | undefined;
  /** Range of `state` that loss scaling works on, f32 [3]; empty where the loss is not scaled. */
  scaling: Slice;
  /** Ranges of the `grad` arena that are all-reduced and updated together. */
  buckets: Bucket[];
  memory: { arenas: Record<string, number>; temporaryLowerBound: number };
  /** sha256 of the texts; equal on all ranks of a run. */
  hash: string;
}
