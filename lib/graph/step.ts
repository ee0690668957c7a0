// A step as a graph up to its update: forward pass and gradients in the order of the arena; and the
// forward pass alone for evaluation.
import { OnehourError } from "../errors.js";
import type { Declaration, Model, Network, ParameterRole } from "../models/model.js";
import { cast, normalizeInput } from "../ops/elementwise.js";
import { softmaxCrossEntropy } from "../ops/loss.js";
import { gradient } from "./autodiff.js";
import { type CompiledModel, type Settings, storedTypes } from "./compiled.js";
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
import { operandNames } from "./signature.js";

/** BN momentum of the paper: running = 0.9·running + 0.1·batch. */
const RUNNING_MOMENTUM = 0.1;

export const METRICS_BYTES = 4 * elementBytes.f32;

/** Of a sum of squares: a row of the op `norms`. */
export const ROW_BYTES = 3 * elementBytes.f32;

/** What lies after the gradients and is summed with them: the metrics, and squares of each bucket. */
export const tailBytes = ({ buckets }: Layout, { noiseScale, workers }: Settings): number =>
  METRICS_BYTES + (noiseScale && workers > 1 ? buckets.length * ROW_BYTES : 0);

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
  /** The rate of the moving average, f32 [1]; where there is one. */
  ema: Value | undefined;
  /** What the loss is multiplied by before back-propagation, f32 [1]; where it is scaled. */
  lossScale: Value | undefined;
  input: CompiledModel["input"];
}

export type Mode = "micro" | "last" | "evaluate" | "evaluate-ema" | "statistics";

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
  const { batch: n, accumulate: a, workers: k, syncBatchNorm, image, testImage } = options;
  const { channels } = model;
  const averaged = mode === "evaluate-ema";
  const training = mode !== "evaluate" && !averaged;
  const { height, width } = training ? image : testImage;
  const pixels = Math.max(...[image, testImage].map((one) => one.height * one.width));
  const T: DataType = storedTypes[options.precision];
  const g = new Graph();
  const parameters: Parameter[] = [];
  const statistics: Built["statistics"] = [];
  // All programs have their inputs at the same places.
  const images = g.leaf(
    [n, height, width, channels],
    "u8",
    g.reserve("input", n * pixels * channels),
  );
  const flips = g.input([n], "u8");
  const labels = g.input([n], "i32");
  const schedule = g.input([2]);
  const ema = options.ema ? g.input([1]) : undefined;
  const lowPrecision = (role: ParameterRole) => role === "convolution" || role === "linear";
  const network: Network = {
    training,
    batchNorm: {
      ...runningFactors(mode, options),
      ...(syncBatchNorm > 1 ? { group: { communicator: "statistics", size: syncBatchNorm } } : {}),
    },
    parameter(declaration) {
      const type = lowPrecision(declaration.role) ? T : "f32";
      const value = g.leaf(declaration.stored, averaged ? "f32" : type);
      value.storage.arena = averaged ? "state" : value.dtype === "f32" ? "param" : "weight";
      parameters.push({ declaration, value });
      return value.dtype === type ? value : cast(value, type);
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
    ...(ema ? { ema: slice(ema) } : {}),
  };
  const scales = options.precision === "fp16" && (mode === "micro" || mode === "last");
  const lossScale = scales ? g.leaf([1], "f32") : undefined;
  return { g, parameters, statistics, metrics, schedule, ema, lossScale, input };
}

/** Sets the leaves' places; all come from the layout by name. */
export function bindLeaves(
  { parameters, statistics, lossScale }: Built,
  layout: Pick<Layout, "parameters" | "statistics" | "scaling">,
): void {
  const offsets = new Map(
    [...layout.parameters, ...layout.statistics].map(({ name, offset }) => [name, offset]),
  );
  for (const { declaration, value } of [...parameters, ...statistics]) {
    const offset = offsets.get(declaration.name)!;
    value.storage.offset = (offset * elementBytes[value.dtype]) / elementBytes.f32;
  }
  if (lossScale) lossScale.storage = new Storage(elementBytes.f32, "state", layout.scaling.offset);
}

/** Backward pass; the gradients in the order in which it produces them. */
export function differentiate(built: Built): { parameter: Parameter; dw: Value }[] {
  const { g, parameters, metrics, lossScale } = built;
  const gradients = gradient(
    g,
    metrics,
    lossScale,
    parameters.map(({ value }) => value),
  );
  const position = new Map(g.nodes.map((node, i) => [node, i]));
  return parameters
    .map((parameter, i) => ({ parameter, dw: gradients[i]! }))
    .sort((a, b) => position.get(a.dw.node!)! - position.get(b.dw.node!)!);
}

/** The name that a computed value has among its node's outputs. */
export function outputName(value: Value): string {
  const [name] = Object.entries(value.node!.outputs).find(([, other]) => other === value)!;
  return name;
}

/** Whether a node can add its result `output` to what is there: its signature has it as an input too. */
export const canAccumulate = ({ op }: Node, output: string): boolean =>
  operandNames(op).inputs.includes(output);

/** Makes a node add its result `output` to what is there. */
export function accumulateInto(node: Node, output: string): void {
  const value = node.outputs[output]!;
  node.attributes.accumulate = 1;
  node.inputs[output] = value.graph.leaf(value.shape, value.dtype, value.storage);
}

function cannotAccumulate({ op }: Node, output: string, parameter: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_MODEL",
    op.name === "add"
      ? `${parameter} is used more than once, and then its gradient cannot be accumulated over ` +
          "micro-batches; use it once, or train with accumulate = 1"
      : `[${op.name}] cannot add the gradient of ${parameter} to that of the micro-batch before; ` +
          `give its signature the input ${output}?, or train with accumulate = 1`,
  );
}

/** Gradients and metrics to the `grad` arena, added to what is there when micro-batches accumulate. */
export function bindGradients(
  { metrics }: Built,
  gradients: { parameter: Parameter; dw: Value }[],
  layout: Layout,
  accumulates: boolean,
): void {
  const offsets = new Map(layout.parameters.map(({ name, offset }) => [name, offset]));
  const bind = (name: string, value: Value, offset: number) => {
    value.storage = new Storage(value.storage.bytes, "grad", offset);
    if (!accumulates) return;
    const node = value.node!;
    const output = outputName(value);
    if (!canAccumulate(node, output)) throw cannotAccumulate(node, output, name);
    accumulateInto(node, output);
  };
  for (const { parameter, dw } of gradients) {
    const { name } = parameter.declaration;
    bind(name, dw, offsets.get(name)!);
  }
  bind("metrics", metrics, layout.parameterBytes);
}
