// Completes a step after back-propagation: sums the gradients over the ranks, takes their norms, updates.
import { OnehourError } from "../errors.js";
import { allReduceOp } from "../ops/collective.js";
import { cast, lerp, scale } from "../ops/elementwise.js";
import { emaWeight } from "../ops/ema.js";
import { lossScale } from "../ops/loss-scale.js";
import { clipNorm, norms } from "../ops/norms.js";
import { type CompiledModel, type Settings, storedTypes, type Update } from "./compiled.js";
import {
  type DataType,
  elementBytes,
  type Graph,
  type Node,
  Storage,
  type Value,
} from "./graph.js";
import type { Averages, Layout, Slice } from "./layout.js";
import { insertAfterWriters } from "./overlap.js";
import type { Instruction } from "./program.js";
import { type Built, METRICS_BYTES, type Parameter, ROW_BYTES, tailBytes } from "./step.js";

/**
 * Whether the update of a step begins with an instruction: norms come first where they are taken for it,
 * else parameters.
 */
export const beginsUpdate = ({ op, inputs, outputs }: Instruction): boolean =>
  (op === "norms" && inputs[0]?.arena !== "grad") || outputs.some(({ arena }) => arena === "param");

/** A range of an arena in which parameters lie alike, by bytes of f32, as one tensor. */
function flat(
  g: Graph,
  arena: "param" | "grad" | "state" | "weight",
  offset: number,
  bytes: number,
  dtype: DataType = "f32",
): Value {
  const count = bytes / elementBytes.f32;
  const at = (offset * elementBytes[dtype]) / elementBytes.f32;
  return g.leaf([count], dtype, new Storage(count * elementBytes[dtype], arena, at));
}

/** Σg² of a range of the gradients, as they lie there, into the second number of a row. */
export function takeSquares(g: Graph, { offset, bytes }: Slice, into: Storage): Value {
  const x = flat(g, "grad", offset, bytes);
  return g.within("noise scale", () => norms(x, x, [bytes / elementBytes.f32], into));
}

/** The `i`-th row of some. */
const rowOf = ({ arena, offset }: Storage, i: number) =>
  new Storage(ROW_BYTES, arena, offset + i * ROW_BYTES);

/** Sums each bucket over the ranks where it is complete; what lies after the last one travels with it. */
function reduceBuckets(
  { g, metrics }: Built,
  gradients: { parameter: Parameter; dw: Value }[],
  { buckets, parameterBytes }: Layout,
  tail: number,
): void {
  const rows = new Storage(tail - METRICS_BYTES, "grad", parameterBytes + METRICS_BYTES);
  const squares: Value[] = [];
  buckets.forEach((bucket, i) => {
    const { offset, bytes, parameters } = bucket;
    const last = i === buckets.length - 1;
    const end = last ? parameterBytes + tail : offset + bytes;
    const names = new Set(parameters);
    const written = gradients
      .filter(({ parameter }) => names.has(parameter.declaration.name))
      .map(({ dw }) => dw);
    if (rows.bytes > 0) {
      squares.push(takeSquares(g, bucket, rowOf(rows, i)));
      insertAfterWriters(g, g.nodes.pop()!, written);
    }
    g.within(`bucket ${i}`, () => {
      const x = flat(g, "grad", offset, end - offset);
      g.apply(allReduceOp, { x }, { communicator: "gradients" }, { stream: "comm" });
    });
    const node = g.nodes.pop()!;
    const others = last ? [metrics, ...squares] : squares.slice(-1);
    insertAfterWriters(g, node, [...written, ...others]);
  });
}

/** Elements of each parameter, with its padding. */
function lengthsOf({ parameters, parameterBytes }: Layout): number[] {
  return parameters.map(({ offset }, i) => {
    const end = parameters[i + 1]?.offset ?? parameterBytes;
    return (end - offset) / elementBytes.f32;
  });
}

/**
 * The norms of all tensors once the whole gradient is there, limited where that is asked for. They lie
 * in the output slot, where a bucket's can be taken out of them. With `scaling`, the gradient is that of
 * a scaled loss: the norms become those of the loss itself, and `factor` is what the update scales by.
 */
function takeNorms(
  g: Graph,
  layout: Layout,
  limit: number | undefined,
  scaling: Value | undefined,
): { rows: Storage; factor: Value | undefined } {
  const lengths = lengthsOf(layout);
  const rows = g.reserve("output", 3 * lengths.length * elementBytes.f32);
  return g.within("norms", () => {
    const gradient = flat(g, "grad", 0, layout.parameterBytes);
    const taken = norms(flat(g, "param", 0, layout.parameterBytes), gradient, lengths, rows);
    const scaled = scaling && lossScale(taken, scaling);
    if (limit !== undefined) clipNorm(gradient, scaled?.norms ?? taken, limit);
    return { rows, factor: scaled?.factor };
  });
}

/** Places in the output slot for the noise scale, of which the loss scale is filled at once, before it changes. */
function reserveNoise({ g, lossScale: current }: Built, { buckets }: Layout, k: number) {
  const rows = (count: number) => g.reserve("output", count * ROW_BYTES);
  const small = rows(k > 1 ? buckets.length : 1);
  const large = rows(buckets.length);
  const scaleOf = g.reserve("output", current ? elementBytes.f32 : 0);
  if (current) g.within("noise scale", () => cast(current, "f32", scaleOf));
  return { small, large, scale: scaleOf };
}

/** Refuses an update that takes a scaled gradient for the gradient itself. */
function requireFactor(factor: Value, nodes: readonly Node[]): void {
  if (nodes.some(({ inputs }) => Object.values(inputs).includes(factor))) return;
  throw new OnehourError(
    "ERR_ONEHOUR_COMPILE",
    "the optimizer's update does not use writes.factor, by which fp16's gradients are to be multiplied, as the loss " +
      "is scaled; pass writes on to sgd, or train in fp32 or bf16",
  );
}

/** Moves the average towards the updated parameters and the running statistics, unless the step is skipped. */
function moveAverage(
  g: Graph,
  rate: Value,
  { parameterBytes, running }: Layout,
  { weights, running: averaged, updates }: Averages,
  factor: Value | undefined,
): void {
  const taken = g.leaf([1], "f32", new Storage(elementBytes.f32, "state", updates.offset));
  const { weight } = emaWeight(rate, taken, factor);
  const move = (arena: "param" | "state", from: Slice, to: Slice) => {
    if (from.bytes === 0) return;
    const start = flat(g, "state", to.offset, to.bytes);
    lerp(start, flat(g, arena, from.offset, from.bytes), weight, start.storage);
  };
  move("param", { offset: 0, bytes: parameterBytes }, weights);
  move("state", running, averaged);
}

/** Adds the all-reduce of the buckets, the update after back-propagation, and the step's results. */
export function addUpdate(
  built: Built,
  gradients: { parameter: Parameter; dw: Value }[],
  layout: Layout,
  settings: Settings,
  { optimizer, clipNorm: limit, keepsGradients = false }: Update,
): CompiledModel["output"] {
  const { accumulate: a, workers: k, precision } = settings;
  const { g, metrics, schedule, ema } = built;
  const tail = tailBytes(layout, settings);
  if (k > 1) reduceBuckets(built, gradients, layout, tail);

  const outputMetrics = g.reserve("output", METRICS_BYTES);
  const finite = g.reserve("output", layout.buckets.length * elementBytes.f32);
  const kept = new Storage(layout.scaling.bytes, "state", layout.scaling.offset);
  const scaling = built.lossScale && g.leaf([3], "f32", kept);
  const wantsNorms = optimizer.needsNorms || limit !== undefined || scaling !== undefined;
  const noise = settings.noiseScale ? reserveNoise(built, layout, k) : undefined;
  // Of the gradient as it is: before a bucket's update or, where all wait for the norms, before those.
  const measure = (bucket: Slice, i: number) =>
    noise && takeSquares(g, bucket, rowOf(noise.large, i));
  if (wantsNorms) layout.buckets.forEach(measure);
  const taken = wantsNorms ? takeNorms(g, layout, limit, scaling) : undefined;
  const type = storedTypes[precision];
  const copy = type === "f32" ? undefined : type;
  const lengths = lengthsOf(layout);
  let first = 0;
  layout.buckets.forEach(({ offset, bytes, parameters }, i) => {
    const count = parameters.length;
    const from = first;
    first += count;
    const tensors = layout.parameters
      .slice(from, first)
      .map(({ role }, j) => ({ length: lengths[from + j]!, role }));
    const rowBytes = 3 * elementBytes.f32;
    const own =
      taken && new Storage(count * rowBytes, "output", taken.rows.offset + from * rowBytes);
    const part = (arena: "param" | "grad" | "state" | "weight", dtype?: DataType) =>
      flat(g, arena, offset, bytes, dtype);
    if (!wantsNorms) measure({ offset, bytes }, i);
    const before = g.nodes.length;
    g.within(`bucket ${i}`, () =>
      optimizer.update({
        w: part("param"),
        g: part("grad"),
        v: part("state"),
        schedule,
        tensors,
        norms: own && g.leaf([count, 3], "f32", own),
        writes: {
          zero: a > 1 && !keepsGradients,
          copy,
          factor: taken?.factor,
          into: {
            finite: new Storage(elementBytes.f32, "output", finite.offset + i * elementBytes.f32),
            ...(copy ? { copy: part("weight", copy).storage } : {}),
          },
        },
      }),
    );
    if (taken?.factor) requireFactor(taken.factor, g.nodes.slice(before));
  });
  if (ema && layout.ema)
    g.within("ema", () => moveAverage(g, ema, layout, layout.ema!, taken?.factor));
  g.within("metrics", () => {
    cast(metrics, "f32", outputMetrics);
    if (a > 1) scale(metrics, 0, metrics.storage);
    if (noise && k > 1)
      cast(
        flat(g, "grad", layout.parameterBytes + METRICS_BYTES, noise.small.bytes),
        "f32",
        noise.small,
      );
  });
  const outputScaling = g.reserve("output", layout.scaling.bytes);
  if (scaling) g.within("scaling", () => cast(scaling, "f32", outputScaling));
  const slice = ({ offset, bytes }: Storage) => ({ offset, bytes });
  return {
    metrics: slice(outputMetrics),
    finite: slice(finite),
    scaling: slice(outputScaling),
    noise: noise && {
      small: slice(noise.small),
      large: slice(noise.large),
      scale: slice(noise.scale),
    },
  };
}
