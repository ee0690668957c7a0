// Compiles a model to the programs of a run: builds the steps, fuses, places events, plans memory and prints.
import { createHash } from "node:crypto";
import { OnehourError } from "../errors.js";
import type { Model } from "../models/model.js";
import { allReduceOp, broadcastOp } from "../ops/collective.js";
import { cast, scale } from "../ops/elementwise.js";
import { plural } from "../text/words.js";
import {
  type CompiledModel,
  type CompileOptions,
  hasCopies,
  type Pixels,
  type Precision,
  type Settings,
  storedTypes,
  type Update,
} from "./compiled.js";
import { emit } from "./emit.js";
import { fuse, prune } from "./fuse.js";
import { elementBytes, Graph, Storage, type Value } from "./graph.js";
import { forwardLayout, type Layout, layoutOf, ownState, type Slice } from "./layout.js";
import { type Step, synchronize } from "./overlap.js";
import { type Plan, plan } from "./plan.js";
import { type Arena, print } from "./program.js";
import { gradientBytes, roundFilterGradients, roundsFilters } from "./rounded.js";
import {
  type Built,
  bindGradients,
  bindLeaves,
  differentiate,
  forward,
  METRICS_BYTES,
} from "./step.js";
import { addUpdate, takeSquares } from "./update.js";

export type {
  CompiledModel,
  CompileOptions,
  Precision,
  StepInput,
  Target,
  Update,
} from "./compiled.js";
export type { Averages, Bucket, Slice, TensorLayout } from "./layout.js";
export { ownState } from "./layout.js";

const defaults = {
  accumulate: 1,
  workers: 1,
  precision: "fp32",
  syncBatchNorm: 1,
  preciseBatchNorm: 0,
  labelSmoothing: 0,
  ema: false,
  noiseScale: false,
  slots: 2,
} as const satisfies Partial<CompileOptions>;

/** A program before its memory is planned. */
export interface Lowered {
  name: string;
  steps: Step[];
  arenas: Arena[];
}

function finish(name: string, g: Graph, options: Settings, arenas: Arena[]): Lowered {
  fuse(g, options.device.operations);
  prune(g);
  if (options.precision === "tf32")
    for (const node of g.nodes) if (node.op.products) node.attributes.precision = "tf32";
  return { name, steps: synchronize(g.nodes), arenas };
}

/** All of a storage as one f32 tensor. */
function whole(g: Graph, storage: Storage): Value {
  return g.leaf([storage.bytes / elementBytes.f32], "f32", storage);
}

/** Low-precision copies of all parameters. */
function copyWeights(x: Value, precision: Precision): void {
  cast(x, storedTypes[precision], new Storage(x.storage.bytes / 2, "weight", 0));
}

function weightsProgram({ parameterBytes }: Layout, precision: Precision): [string, Graph] {
  const g = new Graph();
  copyWeights(whole(g, new Storage(parameterBytes, "param", 0)), precision);
  return ["weights", g];
}

const stateBytes = (layout: Layout) => {
  const { offset, bytes } = ownState(layout);
  return offset + bytes;
};

/** What works on whole arenas outside of steps: exchanges between ranks, copies of weights. */
function arenaPrograms(layout: Layout, options: Settings): [string, Graph][] {
  const { workers: k, precision } = options;
  const { parameterBytes } = layout;
  const own = ownState(layout);
  const param = new Storage(parameterBytes, "param", 0);
  const statistics = new Storage(own.bytes, "state", own.offset);
  const state = new Storage(stateBytes(layout), "state", 0);
  const communicator = "gradients";
  const stream = "comm";
  const programs: [string, Graph][] = [];
  const program = (name: string, build: (g: Graph) => void) => {
    const g = new Graph();
    build(g);
    programs.push([name, g]);
  };

  if (k > 1) {
    program("average", (g) => {
      if (own.bytes === 0) return; // a model without batch norm
      const x = whole(g, statistics);
      const sum = g.apply(allReduceOp, { x }, { communicator }, { stream });
      scale(sum.x, 1 / k, statistics);
    });
    program("broadcast", (g) => {
      const fromFirst = (storage: Storage) =>
        g.apply(broadcastOp, { x: whole(g, storage) }, { communicator, root: 0 }, { stream }).x;
      const x = fromFirst(param);
      fromFirst(state);
      if (hasCopies(precision)) copyWeights(x, precision);
    });
  }
  if (hasCopies(precision)) programs.push(weightsProgram(layout, precision));
  return programs;
}

/** Graphs by their programs' names, and where all of them have what outlives a step. */
interface Lowering {
  graphs: [string, Graph][];
  layout: Layout;
  input: CompiledModel["input"];
  output: CompiledModel["output"];
  /** Bytes of a slot. */
  slot: { input: number; output: number };
}

/** Gives a forward pass by itself the places that it shares with others. */
function placeForward(
  built: Built,
  layout: Parameters<typeof bindLeaves>[1],
  metrics: Slice,
): Graph {
  bindLeaves(built, layout);
  built.metrics.storage = new Storage(METRICS_BYTES, "output", metrics.offset);
  return built.g;
}

/** The forward pass of a test, which has the tensors that training has, whatever the size of the images. */
function forwardOfTest(
  model: Model,
  options: Settings,
  mode: "evaluate" | "evaluate-ema",
  layout: Layout,
): Built {
  const { image, testImage } = options;
  const pixels = ({ height, width }: Pixels) => `${height} × ${width}`;
  const refuse = (problem: string) =>
    new OnehourError(
      "ERR_ONEHOUR_SHAPE",
      `trained on images of ${pixels(image)}, the network cannot be tested on images of ` +
        `${pixels(testImage)}: ${problem}. Test on images of ${pixels(image)}, or take a network that pools over all ` +
        "of an image",
    );
  const isOther = pixels(image) !== pixels(testImage);
  let built: Built;
  try {
    built = forward(model, options, mode);
  } catch (error) {
    throw isOther && error instanceof OnehourError && error.code === "ERR_ONEHOUR_SHAPE"
      ? refuse(error.message)
      : error;
  }
  const shapes = new Map(layout.parameters.map(({ name, shape }) => [name, String(shape)]));
  for (const { name, shape } of declarationsOf(built.parameters)) {
    if (String(shape) === shapes.get(name)) continue;
    throw refuse(`${name} would be [${shape}] instead of [${shapes.get(name)}]`);
  }
  return built;
}

const declarationsOf = <D>(declared: readonly { declaration: D }[]): D[] =>
  declared.map(({ declaration }) => declaration);

function lowerTraining(model: Model, options: Settings, update: Update): Lowering {
  const { accumulate: a } = options;
  const last = forward(model, options, "last");
  const gradients = differentiate(last);
  const layout = layoutOf(
    declarationsOf(gradients.map(({ parameter }) => parameter)),
    declarationsOf(last.statistics),
    {
      filtersFirst: roundsFilters(options),
      scales: last.lossScale !== undefined,
      averages: options.ema,
    },
  );
  bindLeaves(last, layout);
  bindGradients(last, gradients, layout, a > 1);
  roundFilterGradients(last, gradients, layout, options);
  const output = addUpdate(last, gradients, layout, options, update);
  const graphs: [string, Graph][] = [["last", last.g]];

  if (a > 1) {
    const micro = forward(model, options, "micro");
    bindLeaves(micro, layout);
    bindGradients(micro, differentiate(micro), layout, true);
    if (output.noise && options.workers === 1) {
      const { offset, bytes } = output.noise.small;
      const gradient = { offset: 0, bytes: layout.parameterBytes };
      takeSquares(micro.g, gradient, new Storage(bytes, "output", offset));
    }
    graphs.unshift(["micro", micro.g]);
  }
  const tested = forwardOfTest(model, options, "evaluate", layout);
  graphs.push(["evaluate", placeForward(tested, layout, output.metrics)]);
  if (options.preciseBatchNorm > 0) {
    const built = forward(model, options, "statistics");
    graphs.push(["statistics", placeForward(built, layout, output.metrics)]);
  }
  if (layout.ema) {
    const built = forwardOfTest(model, options, "evaluate-ema", layout);
    graphs.push([
      "evaluate-ema",
      placeForward(built, { ...layout, ...layout.ema }, output.metrics),
    ]);
  }
  graphs.push(...arenaPrograms(layout, options));
  return { graphs, layout, input: last.input, output, slot: last.g.arenaBytes };
}

/** Without gradients, momentum and exchanges. */
function lowerEvaluation(model: Model, options: Settings): Lowering {
  const built = forward(model, options, "evaluate");
  const layout = forwardLayout(declarationsOf(built.parameters), declarationsOf(built.statistics));
  const metrics = { offset: built.g.reserve("output", METRICS_BYTES).offset, bytes: METRICS_BYTES };
  const graphs: [string, Graph][] = [["evaluate", placeForward(built, layout, metrics)]];
  const { precision } = options;
  if (hasCopies(precision)) graphs.push(weightsProgram(layout, precision));
  const nothing = { offset: METRICS_BYTES, bytes: 0 };
  const output = { metrics, finite: nothing, scaling: nothing };
  return { graphs, layout, input: built.input, output, slot: built.g.arenaBytes };
}

/** Everything of a compiled model but the memory plans and texts. */
export function lower(
  model: Model,
  given: CompileOptions,
  update?: Update,
): Pick<Lowering, "layout" | "input" | "output"> & { programs: Lowered[] } {
  const options: Settings = { ...defaults, testImage: given.image, ...given };
  check(model, options);
  const { graphs, layout, input, output, slot } = update
    ? lowerTraining(model, options, update)
    : lowerEvaluation(model, options);
  const { parameterBytes } = layout;
  const { slots, precision } = options;
  const arenas: Arena[] = [
    { name: "param", bytes: parameterBytes, slots: 1 },
    { name: "weight", bytes: hasCopies(precision) ? parameterBytes / 2 : 0, slots: 1 },
    { name: "grad", bytes: update ? gradientBytes(layout, options) : 0, slots: 1 },
    { name: "state", bytes: stateBytes(layout), slots: 1 },
    { name: "input", bytes: slot.input, slots },
    { name: "output", bytes: slot.output, slots },
  ];
  const programs = graphs.map(([name, g]) => finish(name, g, options, arenas));
  return { programs, layout, input, output };
}

function check(model: Model, options: Settings): void {
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
  if (options.mean.length !== model.channels)
    refuse(
      `mean has ${plural(options.mean.length, "number")} for images of ${plural(model.channels, "channel")}; ` +
        "give one a channel",
    );
}

/**
 * The programs of a training run, or, without `update`, of an evaluation: `evaluate` and, in bf16
 * and fp16, `weights`.
 *
 * - `micro` (accumulate > 1): gradients and metrics are added up, nothing is communicated.
 * - `last`: gradients, all-reduce, update; metrics (mean loss over the kn images, top-1, top-5,
 *   images), per bucket the number of non-finite gradients and in fp16 where loss scaling stands go to the
 *   output slot.
 * - `evaluate`: with running statistics; metrics of this rank's batch, the loss summed.
 * - `evaluate-ema` (ema): the same with the moving average of parameters and running statistics.
 * - `statistics` (preciseBatchNorm > 0): adds a batch's share to the running statistics, which begin at 0.
 * - `average` (workers > 1): running statistics, and their moving average, to their mean over the ranks.
 * - `broadcast` (workers > 1): parameters and state of rank 0 to all, low-precision copies from them.
 * - `weights` (bf16, fp16): low-precision copies from the parameters, for after these were written.
 *
 * @throws OnehourError ERR_ONEHOUR_COMPILE for impossible numbers, ERR_ONEHOUR_SHAPE where the images
 *   do not suit the model
 */
export function compile(model: Model, options: CompileOptions, update?: Update): CompiledModel {
  const { programs: lowered, layout, input, output } = lower(model, options, update);
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
    momentum: { bytes: layout.momentumBytes },
    ema: layout.ema,
    scaling: layout.scaling,
    running: layout.running,
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
