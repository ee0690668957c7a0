// A model to the programs of a run: builds and differentiates the step, lays out the arenas, fuses,
// places communication, plans memory and prints.
import { createHash } from "node:crypto";
import { OnehourError } from "../errors.js";
import type { Declaration, Initial, Model, Network, ParameterRole } from "../models/model.js";
import { allReduceOp, broadcastOp } from "../ops/collective.js";
import { copyOp, normalizeInput, scaleOp } from "../ops/elementwise.js";
import { softmaxCrossEntropy } from "../ops/loss.js";
import { sgd } from "../ops/sgd.js";
import { gradient } from "./autodiff.js";
import { fuse, prune } from "./fuse.js";
import {
  align,
  type DataType,
  elementBytes,
  elements,
  Graph,
  type Node,
  Storage,
  type StreamName,
  type Value,
} from "./graph.js";
import { cutBuckets, insertAfterWriters, type Step, synchronize } from "./overlap.js";
import { type Plan, plan } from "./plan.js";
import { type Arena, emit, print } from "./program.js";
import { operandNames } from "./signature.js";

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
  /** Steps in flight: copies of the input and output arenas. */
  slots: number;
}

export interface TensorLayout {
  /** torchvision's name and shape (OIHW, [C], [K, C]). */
  name: string;
  shape: number[];
  /** Shape in memory: KRSC, image channels padded. */
  stored: number[];
  /** Bytes from the start of the arena, a multiple of 64. */
  offset: number;
  role: ParameterRole | "running-mean" | "running-variance";
  /** Whether weight decay applies. */
  decays: boolean;
  initial: Initial;
}

/** A range of bytes. */
export interface Slice {
  offset: number;
  bytes: number;
}

export interface Bucket extends Slice {
  parameters: string[];
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

/** BN momentum of the paper: running = 0.9·running + 0.1·batch. */
const RUNNING_MOMENTUM = 0.1;
/** Elements that tensors are padded to: 64 bytes in bf16, so that `weight` shares the offsets. */
const PADDING = 32;
const METRICS_BYTES = 4 * elementBytes.f32;
/** Ops with tensor-core arithmetic that fp32 must not use and tf32 may. */
const tensorCoreOp = /^(conv2d|linear)/;

interface Parameter {
  declaration: Declaration<ParameterRole>;
  value: Value;
}

/** A graph of a run's program in progress, and what the model declared in it. */
interface Built {
  g: Graph;
  parameters: Parameter[];
  statistics: { declaration: Declaration<"running-mean" | "running-variance">; value: Value }[];
  metrics: Value;
  schedule: Value;
  input: CompiledModel["input"];
}

type Mode = "micro" | "last" | "evaluate";

/** Exactly running·(1 − m) + m·(mean of the a statistics), spread over a micro-batches. */
function runningFactors(mode: Mode, a: number): { decay: number; gain: number } {
  const m = RUNNING_MOMENTUM;
  return mode === "micro" ? { decay: 1, gain: m / (a * (1 - m)) } : { decay: 1 - m, gain: m / a };
}

function forward(model: Model, options: CompileOptions, mode: Mode): Built {
  const { batch: n, accumulate: a, workers: k, syncBatchNorm, channelMultiple } = options;
  const { height, width, channels } = model.images;
  const training = mode !== "evaluate";
  const T: DataType = options.precision === "bf16" ? "bf16" : "f32";
  const g = new Graph();
  const parameters: Parameter[] = [];
  const statistics: Built["statistics"] = [];
  const images = g.input([n, height, width, channels], "u8");
  const flips = g.input([n], "u8");
  const labels = g.input([n], "i32");
  const schedule = g.input([2]);
  const lowPrecision = (role: ParameterRole) => role === "convolution" || role === "linear";
  const network: Network = {
    training,
    batchNorm: {
      ...runningFactors(mode, a),
      ...(syncBatchNorm > 1 ? { group: { communicator: "statistics", size: syncBatchNorm } } : {}),
    },
    parameter(declaration) {
      const value = g.leaf(declaration.stored, lowPrecision(declaration.role) ? T : "f32");
      value.storage.arena = value.dtype === "f32" ? "param" : "weight";
      parameters.push({ declaration, value });
      return value;
    },
    statistic(declaration) {
      const value = g.leaf(declaration.stored, "f32");
      value.storage.arena = "state";
      statistics.push({ declaration, value });
      return value;
    },
  };
  const x = g.within("input", () =>
    normalizeInput(images, {
      mean: options.mean,
      std: options.std,
      flip: training ? flips : undefined,
      dtype: T,
      channels: align(channels, channelMultiple),
    }),
  );
  const logits = model.build(network, x);
  const { metrics } = g.within("loss", () =>
    softmaxCrossEntropy(
      logits,
      labels,
      training
        ? { smoothing: options.labelSmoothing, scale: 1 / (k * a * n) }
        : { smoothing: 0, scale: 1 },
    ),
  );
  const slice = ({ storage: { offset, bytes } }: Value): Slice => ({ offset, bytes });
  const input = {
    images: slice(images),
    flips: slice(flips),
    labels: slice(labels),
    schedule: slice(schedule),
  };
  return { g, parameters, statistics, metrics, schedule, input };
}

/** Where everything lies that outlives a step: one layout for all programs of a run. */
interface Layout {
  parameters: TensorLayout[];
  statistics: TensorLayout[];
  buckets: Bucket[];
  parameterBytes: number;
  statisticsBytes: number;
}

function layOut<Role extends TensorLayout["role"]>(
  declarations: readonly Declaration<Role>[],
  start: number,
): { layouts: TensorLayout[]; end: number } {
  let offset = start;
  const layouts = declarations.map(({ name, shape, stored, role, initial }): TensorLayout => {
    const decays = role === "convolution" || role === "linear" || role === "bias";
    const at = offset;
    offset += paddedBytes(stored);
    return { name, shape: [...shape], stored: [...stored], offset: at, role, decays, initial };
  });
  return { layouts, end: offset };
}

function paddedBytes(stored: readonly number[]): number {
  return align(elements(stored), PADDING) * elementBytes.f32;
}

/** Sets the leaves' places; both come from the layout by name. */
function bindLeaves({ parameters, statistics }: Built, layout: Layout): void {
  const offsets = new Map(
    [...layout.parameters, ...layout.statistics].map(({ name, offset }) => [name, offset]),
  );
  for (const { declaration, value } of [...parameters, ...statistics]) {
    const offset = offsets.get(declaration.name)!;
    value.storage.offset = (offset * elementBytes[value.dtype]) / elementBytes.f32;
  }
}

/** Backward pass; the gradients in the order in which it produces them. */
function differentiate(built: Built): { parameter: Parameter; dw: Value }[] {
  const { g, parameters, metrics } = built;
  const gradients = gradient(
    g,
    metrics,
    undefined,
    parameters.map(({ value }) => value),
  );
  const position = new Map(g.nodes.map((node, i) => [node, i]));
  return parameters
    .map((parameter, i) => ({ parameter, dw: gradients[i]! }))
    .sort((a, b) => position.get(a.dw.node!)! - position.get(b.dw.node!)!);
}

function layoutOf(built: Built, gradients: { parameter: Parameter }[]): Layout {
  const { layouts, end } = layOut(
    gradients.map(({ parameter }) => parameter.declaration),
    0,
  );
  const statistics = layOut(
    built.statistics.map(({ declaration }) => declaration),
    end,
  );
  let at = 0;
  const buckets = cutBuckets(layouts.map(({ stored }) => paddedBytes(stored))).map(
    (count): Bucket => {
      const inside = layouts.slice(at, at + count);
      at += count;
      const offset = inside[0]?.offset ?? 0;
      const bytes = (layouts[at]?.offset ?? end) - offset;
      return { offset, bytes, parameters: inside.map(({ name }) => name) };
    },
  );
  return {
    parameters: layouts,
    statistics: statistics.layouts,
    buckets,
    parameterBytes: end,
    statisticsBytes: statistics.end - end,
  };
}

/** Makes a node add its result `output` to what is there. */
function accumulateInto(node: Node, output: string): void {
  if (!operandNames(node.op).inputs.includes(output))
    throw new OnehourError(
      "ERR_ONEHOUR_MODEL",
      `[${node.op.name}] cannot accumulate a parameter's gradient; use each parameter once, or ` +
        "train with accumulate = 1",
    );
  const value = node.outputs[output]!;
  node.attributes.accumulate = 1;
  node.inputs[output] = value.graph.leaf(value.shape, value.dtype, value.storage);
}

/** Gradients and metrics to the `grad` arena, added to what is there when micro-batches accumulate. */
function bindGradients(
  { metrics }: Built,
  gradients: { parameter: Parameter; dw: Value }[],
  layout: Layout,
  accumulates: boolean,
): void {
  const offsets = new Map(layout.parameters.map(({ name, offset }) => [name, offset]));
  const bind = (value: Value, offset: number) => {
    value.storage = new Storage(value.storage.bytes, "grad", offset);
    if (!accumulates) return;
    const node = value.node!;
    const output = Object.entries(node.outputs).find(([, other]) => other === value)!;
    accumulateInto(node, output[0]);
  };
  for (const { parameter, dw } of gradients) bind(dw, offsets.get(parameter.declaration.name)!);
  bind(metrics, layout.parameterBytes);
}

/** All-reduce of each bucket where it is complete, its update after back-propagation, the metrics. */
function update(
  built: Built,
  gradients: { parameter: Parameter; dw: Value }[],
  layout: Layout,
  options: CompileOptions,
): CompiledModel["output"] {
  const { g, metrics, schedule } = built;
  const { accumulate: a, workers: k, precision } = options;
  const flat = (arena: "param" | "grad" | "state" | "weight", offset: number, count: number) => {
    const dtype = arena === "weight" ? "bf16" : "f32";
    const at = (offset * elementBytes[dtype]) / elementBytes.f32;
    return g.leaf([count], dtype, new Storage(count * elementBytes[dtype], arena, at));
  };
  if (k > 1)
    layout.buckets.forEach(({ offset, bytes, parameters }, i) => {
      const last = i === layout.buckets.length - 1;
      const end = last ? layout.parameterBytes + METRICS_BYTES : offset + bytes;
      const names = new Set(parameters);
      const written = gradients
        .filter(({ parameter }) => names.has(parameter.declaration.name))
        .map(({ dw }) => dw);
      g.within(`bucket ${i}`, () => {
        const x = flat("grad", offset, (end - offset) / elementBytes.f32);
        g.apply(allReduceOp, { x }, { communicator: "gradients" }, { stream: "comm" });
      });
      const node = g.nodes.pop()!;
      insertAfterWriters(g, node, last ? [...written, metrics] : written);
    });

  const outputMetrics = g.reserve("output", METRICS_BYTES);
  const finite = g.reserve("output", layout.buckets.length * elementBytes.f32);
  const decays = new Map(layout.parameters.map(({ name, decays }) => [name, decays]));
  const starts = new Map(layout.parameters.map(({ name, offset }) => [name, offset]));
  layout.buckets.forEach(({ offset, bytes, parameters }, i) => {
    const count = bytes / elementBytes.f32;
    const segments: { length: number; decay: number }[] = [];
    parameters.forEach((name, j) => {
      const next = parameters[j + 1];
      const stop = next === undefined ? offset + bytes : starts.get(next)!;
      const length = (stop - starts.get(name)!) / elementBytes.f32;
      const decay = decays.get(name) ? options.weightDecay : 0;
      const previous = segments.at(-1);
      if (previous?.decay === decay) previous.length += length;
      else segments.push({ length, decay });
    });
    const copy = precision === "bf16";
    g.within(`bucket ${i}`, () =>
      sgd(
        {
          w: flat("param", offset, count),
          g: flat("grad", offset, count),
          v: flat("state", offset, count),
          schedule,
        },
        {
          form: options.momentumForm,
          nesterov: options.nesterov,
          momentum: options.momentum,
          segments,
          zero: a > 1,
          copy,
          into: {
            finite: new Storage(elementBytes.f32, "output", finite.offset + i * elementBytes.f32),
            ...(copy ? { copy: flat("weight", offset, count).storage } : {}),
          },
        },
      ),
    );
  });
  g.within("metrics", () => {
    const types = { V: "f32" as const };
    g.apply(copyOp, { x: metrics }, {}, { types, into: { y: outputMetrics } });
    if (a > 1) g.apply(scaleOp, { x: metrics }, { factor: 0 }, { into: { y: metrics.storage } });
  });
  const { offset, bytes } = finite;
  return {
    metrics: { offset: outputMetrics.offset, bytes: METRICS_BYTES },
    finite: { offset, bytes },
  };
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
    for (const node of g.nodes)
      if (tensorCoreOp.test(node.op.name)) node.attributes.precision = "tf32";
  return { name, steps: synchronize(g.nodes), arenas };
}

/** Programs that work on whole arenas: f32 ranges given as [arena, offset, elements]. */
function arenaProgram(build: (g: Graph, whole: (s: Storage) => Value) => void): Graph {
  const g = new Graph();
  build(g, (storage) => g.leaf([storage.bytes / elementBytes.f32], "f32", storage));
  return g;
}

/** Everything of a compiled model but the memory plans and texts. */
export function lower(
  model: Model,
  options: CompileOptions,
): {
  programs: Lowered[];
  layout: Layout;
  input: CompiledModel["input"];
  output: CompiledModel["output"];
} {
  const { accumulate: a, workers: k, slots, precision } = options;
  const built = new Map<Mode, Built>();
  const last = forward(model, options, "last");
  const gradients = differentiate(last);
  const layout = layoutOf(last, gradients);
  bindLeaves(last, layout);
  bindGradients(last, gradients, layout, a > 1);
  const output = update(last, gradients, layout, options);
  built.set("last", last);

  if (a > 1) {
    const micro = forward(model, options, "micro");
    bindLeaves(micro, layout);
    bindGradients(micro, differentiate(micro), layout, true);
    built.set("micro", micro);
  }
  const evaluate = forward(model, options, "evaluate");
  bindLeaves(evaluate, layout);
  evaluate.metrics.storage = new Storage(METRICS_BYTES, "output", output.metrics.offset);
  built.set("evaluate", evaluate);

  const { parameterBytes, statisticsBytes } = layout;
  const arenas: Arena[] = [
    { name: "param", bytes: parameterBytes, slots: 1 },
    { name: "weight", bytes: precision === "bf16" ? parameterBytes / 2 : 0, slots: 1 },
    { name: "grad", bytes: parameterBytes + align(METRICS_BYTES), slots: 1 },
    { name: "state", bytes: parameterBytes + statisticsBytes, slots: 1 },
    { name: "input", bytes: last.g.arenaBytes.input, slots },
    { name: "output", bytes: last.g.arenaBytes.output, slots },
  ];
  const param = new Storage(parameterBytes, "param", 0);
  const statistics = new Storage(statisticsBytes, "state", parameterBytes);
  const stream: StreamName = "comm";
  const communicator = "gradients";
  const weights = (g: Graph, x: Value) => {
    const into = { y: new Storage(parameterBytes / 2, "weight", 0) };
    if (precision === "bf16") g.apply(copyOp, { x }, {}, { types: { V: "bf16" }, into });
  };
  const extra: Record<string, Graph | undefined> = {
    average:
      k > 1
        ? arenaProgram((g, whole) => {
            const sum = g.apply(
              allReduceOp,
              { x: whole(statistics) },
              { communicator },
              { stream },
            );
            g.apply(scaleOp, { x: sum.x }, { factor: 1 / k }, { into: { y: statistics } });
          })
        : undefined,
    broadcast:
      k > 1
        ? arenaProgram((g, whole) => {
            const state = new Storage(parameterBytes + statisticsBytes, "state", 0);
            const [x] = [param, state].map(
              (storage) =>
                g.apply(broadcastOp, { x: whole(storage) }, { communicator, root: 0 }, { stream })
                  .x,
            );
            weights(g, x!);
          })
        : undefined,
    weights:
      precision === "bf16" ? arenaProgram((g, whole) => weights(g, whole(param))) : undefined,
  };
  const order: Mode[] = ["micro", "last", "evaluate"];
  const graphs = [
    ...order.map((mode) => [mode, built.get(mode)?.g] as const),
    ...Object.entries(extra),
  ];
  const programs = graphs.flatMap(([name, g]) =>
    g === undefined ? [] : [finish(name, g, options, arenas)],
  );
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
        `${options.workers} workers; use a divisor of ${options.workers}`,
    );
  if (options.mean.length !== model.images.channels)
    refuse(
      `mean has ${options.mean.length} numbers for images of ${model.images.channels} channels; ` +
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
 * - `average` (workers > 1): running statistics to their mean over the ranks.
 * - `broadcast` (workers > 1): parameters and state of rank 0 to all.
 * - `weights` (bf16): low-precision copies from the parameters; after parameters were written.
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
