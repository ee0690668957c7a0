// The layout of what outlives a step: one order of tensors for parameters, gradients and momentum,
// running statistics after these, buckets as ranges.
import type { Declaration, Initial, ParameterRole } from "../models/model.js";
import { align, elementBytes, elements } from "./graph.js";
import { cutBuckets } from "./overlap.js";

export interface TensorLayout<Role extends TensorRole = TensorRole> {
  /** torchvision's name and shape (OIHW, [C], [K, C]). */
  name: string;
  shape: number[];
  /** Shape in memory: KRSC, image channels padded. */
  stored: number[];
  /** Bytes from the start of the arena, a multiple of 64. */
  offset: number;
  role: Role;
  initial: Initial;
}

/** What a tensor that outlives a step is to the network. */
type TensorRole = ParameterRole | "running-mean" | "running-variance";

/** A range of bytes. */
export interface Slice {
  offset: number;
  bytes: number;
}

export interface Bucket extends Slice {
  parameters: string[];
}

/** Elements that tensors are padded to: 64 bytes in bf16 and f16, so that `weight` shares the offsets. */
const PADDING = 32;

/** The loss scale, good steps, skipped steps. */
const SCALING_BYTES = 3 * elementBytes.f32;

/** An exponential moving average of the model, in `state`. */
export interface Averages {
  /** Of each parameter, in the parameters' order. */
  parameters: TensorLayout<ParameterRole>[];
  /** Of the running statistics, each rank's own as these are. */
  statistics: TensorLayout[];
  /** Ranges of all of either. */
  weights: Slice;
  running: Slice;
  /** How many models are in it, f32 [1]. */
  updates: Slice;
}

/** Where everything lies that outlives a step: one layout for all programs of a run. */
export interface Layout {
  parameters: TensorLayout<ParameterRole>[];
  statistics: TensorLayout[];
  buckets: Bucket[];
  parameterBytes: number;
  /**
   * Momentum is `state` from 0 to here; after it come what loss scaling keeps, the moving average of the
   * parameters, the running statistics and last their moving average.
   */
  momentumBytes: number;
  scaling: Slice;
  running: Slice;
  ema: Averages | undefined;
}

function layOut<Role extends TensorRole>(
  declarations: readonly Declaration<Role>[],
  start: number,
): { layouts: TensorLayout<Role>[]; end: number } {
  let offset = start;
  const layouts = declarations.map(({ name, shape, stored, role, initial }): TensorLayout<Role> => {
    const at = offset;
    offset += paddedBytes(stored);
    return { name, shape: [...shape], stored: [...stored], offset: at, role, initial };
  });
  return { layouts, end: offset };
}

function paddedBytes(stored: readonly number[]): number {
  return align(elements(stored), PADDING) * elementBytes.f32;
}

/**
 * The layout of training.
 *
 * @param parameters in the order in which back-propagation produces their gradients
 * @param options filtersFirst puts the filters of convolutions first in each bucket: they are a range
 *   then; scales says whether the loss is scaled, averages whether there is a moving average
 */
export function layoutOf(
  parameters: readonly Declaration<ParameterRole>[],
  running: readonly Declaration<"running-mean" | "running-variance">[],
  { filtersFirst = false, scales = false, averages = false } = {},
): Layout {
  const counts = cutBuckets(parameters.map(({ stored }) => paddedBytes(stored)));
  let first = 0;
  const ordered = counts.flatMap((count) => {
    const inside = parameters.slice(first, first + count);
    first += count;
    const isFirst = ({ role }: Declaration<ParameterRole>) =>
      filtersFirst && role === "convolution";
    return [...inside.filter(isFirst), ...inside.filter((other) => !isFirst(other))];
  });
  const { layouts, end } = layOut(ordered, 0);
  const scaling = { offset: end, bytes: scales ? SCALING_BYTES : 0 };
  const weights = { offset: align(end + scaling.bytes), bytes: averages ? end : 0 };
  const updates = { offset: weights.offset + weights.bytes, bytes: elementBytes.f32 };
  const start = averages ? align(updates.offset + updates.bytes) : weights.offset;
  const statistics = layOut(running, start);
  const statisticsSlice = { offset: start, bytes: statistics.end - start };
  const ema = averages
    ? {
        parameters: layouts.map((layout) => ({
          ...layout,
          offset: weights.offset + layout.offset,
        })),
        statistics: layOut(running, statistics.end).layouts,
        weights,
        running: { ...statisticsSlice, offset: statistics.end },
        updates,
      }
    : undefined;
  let at = 0;
  const buckets = counts.map((count): Bucket => {
    const inside = layouts.slice(at, at + count);
    at += count;
    const offset = inside[0]?.offset ?? 0;
    const bytes = (layouts[at]?.offset ?? end) - offset;
    return { offset, bytes, parameters: inside.map(({ name }) => name) };
  });
  return {
    parameters: layouts,
    statistics: statistics.layouts,
    buckets,
    parameterBytes: end,
    momentumBytes: end,
    scaling,
    running: statisticsSlice,
    ema,
  };
}

/** The part of `state` in which ranks differ: the running statistics and their moving average. */
export function ownState({ running, ema }: Pick<Layout, "running" | "ema">): Slice {
  return { offset: running.offset, bytes: running.bytes + (ema?.running.bytes ?? 0) };
}

/** The layout where nothing is trained. */
export function forwardLayout(
  parameters: readonly Declaration<ParameterRole>[],
  running: readonly Declaration<"running-mean" | "running-variance">[],
): Layout {
  const { layouts, end } = layOut(parameters, 0);
  const statistics = layOut(running, 0);
  return {
    parameters: layouts,
    statistics: statistics.layouts,
    buckets: [],
    parameterBytes: end,
    momentumBytes: 0,
    scaling: { offset: 0, bytes: 0 },
    running: { offset: 0, bytes: statistics.end },
    ema: undefined,
  };
}
