// Dynamic loss scaling: fp16's gradients are those of a scaled loss, so that small ones are not rounded to 0.
import type { Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { type CaseRow, defineCases } from "./cases.js";
import { norms } from "./norms.js";

/** Where loss scaling stands after a step. */
export interface Scaling {
  /** What the next step's loss is multiplied by: a power of two, so that it costs no rounding. */
  lossScale: number;
  /** Steps taken since it last changed. */
  goodSteps: number;
  /** Steps of the run that were skipped. */
  skipped: number;
}

/** Where a run begins: 2¹⁶, as PyTorch's GradScaler. */
export const initialScaling: Scaling = { lossScale: 2 ** 16, goodSteps: 0, skipped: 0 };

/** Good steps after which the scale doubles, as PyTorch's GradScaler. */
const INTERVAL = 2000;

/** As it lies in `state`, and as the step leaves it in the output slot: f32 [3]. */
export const scalingToFloats = ({ lossScale, goodSteps, skipped }: Scaling): Float32Array =>
  Float32Array.of(lossScale, goodSteps, skipped);

/** Whether the op can come to that scale: by powers of two, as far as f32 has them in full. */
export function isScale(value: number): boolean {
  const exponent = Math.round(Math.log2(value));
  return 2 ** exponent === value && exponent >= -126 && exponent <= 127;
}

/** The reverse of `scalingToFloats`. */
export const scalingFromFloats = ([lossScale, goodSteps, skipped]: ArrayLike<number> &
  Iterable<number>): Scaling => ({
  lossScale: lossScale!,
  goodSteps: goodSteps!,
  skipped: skipped!,
});

export const lossScaleOp = defineOp<"norms" | "scaling" | "factor">({
  name: "loss-scale",
  signature: "norms:f32[S,3] scaling:f32[3] -> norms:f32[S,3] scaling:f32[3] factor:f32[1]",
});

/**
 * Decides by the norms of a scaled gradient whether its step is taken: where an element is not finite it
 * is skipped, and the scale is halved. After `interval` good steps in a row the scale doubles.
 *
 * @param norms f32 [S, 3], from the op `norms`; overwritten by those of the gradient itself, or left as
 *   they are where the step is skipped
 * @param scaling f32 [3]: the scale, the good steps since it last changed, the steps skipped in all;
 *   overwritten by those after the step
 * @returns factor f32 [1]: what the update multiplies the scaled gradient by, or 0 for a step to skip
 */
export function lossScale(
  norms: Value,
  scaling: Value,
  interval: number = INTERVAL,
): { norms: Value; scaling: Value; factor: Value } {
  return norms.graph.apply(lossScaleOp, { norms, scaling }, { interval });
}

interface LossScaleRow extends CaseRow {
  lengths: readonly number[];
  /** Before the step. */
  scaling: Scaling;
  interval: number;
}

const row = (name: string, options: Partial<LossScaleRow & Scaling>): LossScaleRow => ({
  name,
  ...{ lengths: [37, 1, 300, 11], interval: 2000, dtype: "f32" },
  scaling: { ...initialScaling, ...options.scaling },
  ...options,
});

/** Cases of steps that are taken; those that are skipped have norms that are not finite, and a test. */
export const lossScaleCases = defineCases<LossScaleRow>({
  family: "loss-scale",
  rows: [
    row("a good step", { scaling: { lossScale: 2 ** 10, goodSteps: 7, skipped: 3 } }),
    row("the scale doubles", {
      interval: 8,
      scaling: { lossScale: 0.5, goodSteps: 7, skipped: 0 },
    }),
    row("the scale is the largest", {
      interval: 1,
      scaling: { lossScale: 2 ** 127, goodSteps: 0, skipped: 0 },
    }),
  ],
  sizes: [row("more tensors than threads", { lengths: Array<number>(700).fill(3) })],
  inputs: ({ lengths }) => {
    const shape = [lengths.reduce((sum, length) => sum + length, 0)];
    return { w: { shape, f32: true }, g: { shape, f32: true } };
  },
  build: ({ w, g }, { lengths, scaling, interval }) => {
    const before = g!.graph.constant(scalingToFloats(scaling), [3]);
    return { ...lossScale(norms(w!, g!, lengths), before, interval) };
  },
  elementwise: ["norms", "scaling", "factor"],
  tolerance: (_, output) => (output === "norms" ? 2 ** -23 : 2 ** -24),
});
