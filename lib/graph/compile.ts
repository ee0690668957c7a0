// A model to the programs of a run: builds the steps, fuses, places events, plans memory and prints.
import { createHash } from "node:crypto";
import { OnehourError } from "../errors.js";
import type { Model } from "../models/model.js";
import { allReduceOp, broadcastOp } from "../ops/collective.js";
import { copyOp, scaleOp } from "../ops/elementwise.js";
import { plural } from "../text/words.js";
import { fuse, prune } from "./fuse.js";
import { align, elementBytes, Graph, Storage, type Value } from "./graph.js";
import { type Bucket, type Layout, layoutOf, type Slice, type TensorLayout } from "./layout.js";
import { type Step, synchronize } from "./overlap.js";
import { type Plan, plan } from "./plan.js";
import { type Arena, emit, print } from "./program.js";
import {
  bindGradients,
  bindLeaves,
  differentiate,
  forward,
  METRICS_BYTES,
  update,
} from "./step.js";

export type { Bucket, Slice, TensorLayout } from "./layout.js";

export interface CompileOptions {
  /** n: images per worker and micro-batch. */
  batch: number;
  /** a: micro-batches per step. */
  accumulate: number;
  /** k. */
  workers: number;
  /** Ranks that share batch-norm statistics; 1 = per worker. */
  syncBatchNorm: number;
  precision: "fp32" | "tf32" | "bf16";
  momentum: number;
  momentumForm: "gradient" | "velocity";
  nesterov: boolean;
  weightDecay: number;
  labelSmoothing: number;
  /** Per image channel, for pixels in [0, 1]. */
  mean: readonly number[];
  std: readonly number[];
  /** Ops that the backend has kernels for; decides the fusions. */
  operations: ReadonlySet<string>;
  /** Image channels are zero-padded to a multiple of this. */
  channelMultiple: number;
  /** Batches whose mean statistics the program `statistics` gives; none or 0: there is no such program. */
  preciseBatchNorm?: number;
  /** Steps in flight: copies of the input and output arenas. */
  slots: number;
}

export interface CompiledModel {
  programs: { name: string; text: string }[];
  /** In the order of the arenas; `offset` is in `param`, and alike in `grad` and `state` (momentum). */
  parameters: TensorLayout[];
  /** Running statistics; `offset` is in `state`. */
  statistics: TensorLayout[];
  /** Ranges in an input slot. */
  input: { images: Slice; flips: Slice; labels: Slice; schedule: Slice };
  /** Ranges in an output slot. */
  output: { metrics: Slice; finite: Slice };
  /** Momentum is `state` from 0 to here. */
  momentum: { bytes: number };
  /** Ranges of the `grad` arena that are all-reduced and updated together. */
  buckets: Bucket[];
  memory: { arenas: Record<string, number>; temporaryLowerBound: number };
  /** sha256 of the texts; equal on all ranks of a run. */
  hash: string;
}

/** A program before its memory is planned. */
export interface Lowered {
  name: string;
  steps: Step[];
  arenas: Arena[];
}

function finish(name: string, g: Graph, options: CompileOptions, arenas: Arena[]): Lowered {
  fuse(g, options.operations);
  prune(g);
  if (options.precision === "tf32")
    for (const node of g.nodes) if (node.op.products) node.attributes.precision = "tf32";
  return { name, steps: synchronize(g.nodes), arenas };
}

/** What works on whole arenas outside of steps, f32: exchanges between ranks, copies of weights. */
function arenaPrograms(layout: Layout, options: CompileOptions): [string, Graph][] {
  const { workers: k, precision } = options;
  const { parameterBytes, statisticsBytes } = layout;
  const param = new Storage(parameterBytes, "param", 0);
  const statistics = new Storage(statisticsBytes, "state", parameterBytes);
  const state = new Storage(parameterBytes + statisticsBytes, "state", 0);
  const lowPrecision = precision === "bf16";
  const communicator = "gradients";
  const stream = "comm";
  const whole = (g: Graph, storage: Storage) =>
    g.leaf([storage.bytes / elementBytes.f32], "f32", storage);
  const copyWeights = (g: Graph, x: Value) => {
    const into = { y: new Storage(parameterBytes / 2, "weight", 0) };
    g.apply(copyOp, { x }, {}, { types: { V: "bf16" }, into });
  };
  const programs: [string, Graph][] = [];
  const program = (name: string, build: (g: Graph) => void) => {
    const g = new Graph();
    build(g);
    programs.push([name, g]);
  };

  if (k > 1) {
    program("average", (g) => {
      const x = whole(g, statistics);
      const sum = g.apply(allReduceOp, { x }, { communicator }, { stream });
      g.apply(scaleOp, { x: sum.x }, { factor: 1 / k }, { into: { y: statistics } });
    });
    program("broadcast", (g) => {
      const fromFirst = (storage: Storage) =>
        g.apply(broadcastOp, { x: whole(g, storage) }, { communicator, root: 0 }, { stream }).x;
      const x = fromFirst(param);
      fromFirst(state);
      if (lowPrecision) copyWeights(g, x);
    });
  }
  if (lowPrecision) program("weights", (g) => copyWeights(g, whole(g, param)));
  return programs;
}

/** Everything of a compiled model but the memory plans and texts. */
export function lower(
  model: Model,
  options: CompileOptions,
): Pick<CompiledModel, "input" | "output"> & { programs: Lowered[]; layout: Layout } {
  const { accumulate: a, slots, precision } = options;
  const last = forward(model, options, "last");
  const gradients = differentiate(last);
  const layout = layoutOf(
    gradients.map(({ parameter }) => parameter.declaration),
    last.statistics.map(({ declaration }) => declaration),
  );
  bindLeaves(last, layout);
  bindGradients(last, gradients, layout, a > 1);
  const output = update(last, gradients, layout, options);
  const graphs: [string, Graph][] = [["last", last.g]];

  if (a > 1) {
    const micro = forward(model, options, "micro");
    bindLeaves(micro, layout);
    bindGradients(micro, differentiate(micro), layout, true);
    graphs.unshift(["micro", micro.g]);
  }
  for (const mode of ["evaluate", "statistics"] as const) {
    if (mode === "statistics" && !options.preciseBatchNorm) continue;
    const built = forward(model, options, mode);
    bindLeaves(built, layout);
    built.metrics.storage = new Storage(METRICS_BYTES, "output", output.metrics.offset);
    graphs.push([mode, built.g]);
  }
  graphs.push(...arenaPrograms(layout, options));

  const { parameterBytes, statisticsBytes } = layout;
  const arenas: Arena[] = [
    { name: "param", bytes: parameterBytes, slots: 1 },
    { name: "weight", bytes: precision === "bf16" ? parameterBytes / 2 : 0, slots: 1 },
    { name: "grad", bytes: parameterBytes + align(METRICS_BYTES), slots: 1 },
    { name: "state", bytes: parameterBytes + statisticsBytes, slots: 1 },
    { name: "input", bytes: last.g.arenaBytes.input, slots },
    { name: "output", bytes: last.g.arenaBytes.output, slots },
  ];
  const programs = graphs.map(([name, g]) => finish(name, g, options, arenas));
  return { programs, layout, input: last.input, output };
}

function check(model: Model, options: CompileOptions): void {
  const refuse = (message: string) => {
    throw new OnehourError("ERR_ONEHOUR_COMPILE", message);
  };
  for (const key of ["batch", "accumulate", "workers", "syncBatchNorm", "slots"] as const)
    if (!Number.isInteger(options[key]) || options[key] < 1)
      refuse(`${key} is ${options[key]}; expected a whole number of at least 1`);
  if (options.workers % options.syncBatchNorm !== 0)
    refuse(
      `batch norm cannot be synchronised over groups of ${options.syncBatchNorm} of ` +
        `${plural(options.workers, "worker")}; use a divisor of ${options.workers}`,
    );
  if (options.mean.length !== model.images.channels)
    refuse(
      `mean has ${plural(options.mean.length, "number")} for images of ${plural(model.images.channels, "channel")}; ` +
        "give one a channel",
    );
}

/**
 * The programs of a training run.
 *
 * - `micro` (accumulate > 1): gradients and metrics are added up, nothing is communicated.
 * - `last`: gradients, all-reduce, update; metrics (mean loss over the kn images, top-1, top-5,
 *   images) and per bucket the number of non-finite gradients go to the output slot.
 * - `evaluate`: with running statistics; metrics of this rank's batch, the loss summed.
 * - `statistics` (preciseBatchNorm > 0): adds a batch's share to the running statistics, which begin at 0.
 * - `average` (workers > 1): running statistics to their mean over the ranks.
 * - `broadcast` (workers > 1): parameters and state of rank 0 to all, low-precision copies from them.
 * - `weights` (bf16): low-precision copies from the parameters, for after these were written.
 *
 * @throws OnehourError ERR_ONEHOUR_COMPILE for impossible numbers, ERR_ONEHOUR_SHAPE where the images
 *   do not suit the model
 */
export function compile(model: Model, options: CompileOptions): CompiledModel {
  check(model, options);
  const { programs: lowered, layout, input, output } = lower(model, options);
  const plans: Plan[] = [];
  const programs = lowered.map(({ name, steps, arenas }) => {
    const memory = plan(steps);
    plans.push(memory);
    return { name, text: print(emit(name, steps, memory, arenas)) };
  });
  const { arenas } = lowered[0]!;
  const hash = createHash("sha256");
  for (const { text } of programs) hash.update(text);
  return {
    programs,
    parameters: layout.parameters,
    statistics: layout.statistics,
    input,
    output,
    momentum: { bytes: layout.parameterBytes },
    buckets: layout.buckets,
    memory: {
      arenas: {
        ...Object.fromEntries(arenas.map(({ name, bytes, slots }) => [name, bytes * slots])),
        temp: Math.max(...plans.map(({ bytes }) => bytes)),
      },
      temporaryLowerBound: Math.max(...plans.map(({ lowerBound }) => lowerBound)),
    },
    hash: hash.digest("hex"),
  };
}
