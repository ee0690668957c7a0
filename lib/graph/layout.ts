// The layout of what outlives a step: one order of tensors for parameters, gradients and momentum,
// running statistics behind, buckets as ranges.
import type { Declaration, Initial, ParameterRole } from "../models/model.js";
import { align, elementBytes, elements } from "./graph.js";
import { cutBuckets } from "./overlap.js";

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

/** Elements that tensors are padded to: 64 bytes in bf16, so that `weight` shares the offsets. */
const PADDING = 32;

/** Where everything lies that outlives a step: one layout for all programs of a run. */
export interface Layout {
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

/**
 * @param parameters in the order in which back-propagation produces their gradients
 */
export function layoutOf(
  parameters: readonly Declaration<ParameterRole>[],
  running: readonly Declaration<"running-mean" | "running-variance">[],
): Layout {
  const { layouts, end } = layOut(parameters, 0);
  const statistics = layOut(running, end);
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
