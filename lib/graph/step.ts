// One step as a graph: forward pass, gradients in the order of the arena, all-reduce of the buckets,
// update; and the forward pass alone for evaluation.
import { OnehourError } from "../errors.js";
import type { Declaration, Model, Network, ParameterRole } from "../models/model.js";
import { allReduceOp } from "../ops/collective.js";
import { copyOp, normalizeInput, scaleOp } from "../ops/elementwise.js";
import { softmaxCrossEntropy } from "../ops/loss.js";
import { gradient } from "./autodiff.js";
import type { CompiledModel, Settings, Update } from "./compile.js";
import {
  align,
  type DataType,
  elementBytes,
  Graph,
  type Node,
  Storage,
  type Value,
} from "./graph.js";
import type { Layout, Slice } from "./layout.js";
import { insertAfterWriters } from "./overlap.js";
import { operandNames } from "./signature.js";

/** BN momentum of the paper: running = 0.9·running + 0.1·batch. */
const RUNNING_MOMENTUM = 0.1;

export const METRICS_BYTES = 4 * elementBytes.f32;

export interface Parameter {
  declaration: Declaration<ParameterRole>;
  value: Value;
}

/** A graph of a run's program in progress, and what the model declared in it. */
export interface Built {
  g: Graph;
  parameters: Parameter[];
  statistics: { declaration: Declaration<"running-mean" | "running-variance">; value: Value }[];
  metrics: Value;
  schedule: Value;
  input: CompiledModel["input"];
}

export type Mode = "micro" | "last" | "evaluate" | "statistics";

/**
 * Exactly running·(1 − m) + m·(mean of the a statistics), spread over a micro-batches; or the mean of
 * the statistics of so many batches, added to zeros.
 */
function runningFactors(mode: Mode, options: Settings): { decay: number; gain: number } {
  const { accumulate: a, preciseBatchNorm } = options;
  const m = RUNNING_MOMENTUM;
  if (mode === "statistics") return { decay: 1, gain: 1 / preciseBatchNorm };
  return mode === "micro" ? { decay: 1, gain: m / (a * (1 - m)) } : { decay: 1 - m, gain: m / a };
}

export function forward(model: Model, options: Settings, mode: Mode): Built {
  const { batch: n, accumulate: a, workers: k, syncBatchNorm, image } = options;
  const { height, width } = image;
  const { channels } = model;
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
      ...runningFactors(mode, options),
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
      channels: align(channels, options.device.properties.channelMultiple),
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

/** Sets the leaves' places; both come from the layout by name. */
export function bindLeaves({ parameters, statistics }: Built, layout: Layout): void {
  const offsets = new Map(
    [...layout.parameters, ...layout.statistics].map(({ name, offset }) => [name, offset]),
  );
  for (const { declaration, value } of [...parameters, ...statistics]) {
    const offset = offsets.get(declaration.name)!;
    value.storage.offset = (offset * elementBytes[value.dtype]) / elementBytes.f32;
  }
}

/** Backward pass; the gradients in the order in which it produces them. */
export function differentiate(built: Built): { parameter: Parameter; dw: Value }[] {
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
export function bindGradients(
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
export function addUpdate(
  built: Built,
  gradients: { parameter: Parameter; dw: Value }[],
  layout: Layout,
  options: Settings,
  { optimizer }: Update,
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
  const tensors = new Map(layout.parameters.map((tensor) => [tensor.name, tensor]));
  layout.buckets.forEach(({ offset, bytes, parameters }, i) => {
    const count = bytes / elementBytes.f32;
    const ends = [...parameters.slice(1).map((name) => tensors.get(name)!.offset), offset + bytes];
    g.within(`bucket ${i}`, () =>
      optimizer.update({
        w: flat("param", offset, count),
        g: flat("grad", offset, count),
        v: flat("state", offset, count),
        schedule,
        tensors: parameters.map((name, j) => {
          const { offset: start, role } = tensors.get(name)!;
          return { length: (ends[j]! - start) / elementBytes.f32, role };
        }),
        zero: a > 1,
        copy: precision === "bf16" ? flat("weight", offset, count).storage : undefined,
        finite: new Storage(elementBytes.f32, "output", finite.offset + i * elementBytes.f32),
      }),
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
