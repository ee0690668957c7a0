// The norms of every tensor of a flat range, and what a gradient's norm is limited by.
import type { Storage, Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { shapeError } from "../graph/signature.js";

export const normsOp = defineOp<"norms">({
  name: "norms",
  signature: "w:f32[L] g:f32[L] -> norms:f32[S,3]",
  derive: ({ sizes }, { lengths }) => {
    const all = lengths as readonly number[];
    const total = all.reduce((sum, length) => sum + length, 0);
    if (total !== sizes.L)
      throw shapeError("norms", `lengths of ${sizes.L} elements in all`, `${all} (${total})`);
    sizes.S = all.length;
  },
});

/**
 * Sums over each tensor of a flat range, in tiles of a fixed size: the same bits for any number of
 * threads, and on every rank.
 *
 * @param w parameters, f32 [L]
 * @param g their gradient, f32 [L]
 * @param lengths elements of each tensor, in order; together L
 * @param into where the result has to lie
 * @returns f32 [S, 3]: of each tensor Σw², Σg² and the number of elements of g that are not finite
 * @throws OnehourError ERR_ONEHOUR_SHAPE when lengths differ
 */
export function norms(w: Value, g: Value, lengths: readonly number[], into?: Storage): Value {
  const options = into ? { into: { norms: into } } : {};
  return w.graph.apply(normsOp, { w, g }, { lengths }, options).norms;
}

export const clipNormOp = defineOp<"g" | "norms">({
  name: "clip-norm",
  signature: "g:f32[L] norms:f32[S,3] -> g:f32[L] norms:f32[S,3]",
});

/**
 * Scales a gradient in place so that its norm over all tensors is at most `limit`: g ← g·min(1, limit /
 * (‖g‖ + 1e-6)), as PyTorch's clip_grad_norm_. One with elements that are not finite stays as it is.
 *
 * @param g f32 [L]
 * @param norms of g, from `norms`; the result's are those of the scaled gradient
 */
export function clipNorm(g: Value, norms: Value, limit: number): { g: Value; norms: Value } {
  return g.graph.apply(clipNormOp, { g, norms }, { limit });
}

/** Rows of the norms of flat tensors, before and after their gradient is clipped; its test builds them. */
export const normsRows: readonly { name: string; lengths: readonly number[]; limit: number }[] = [
  { name: "tensors of all sizes", lengths: [37, 1, 300, 11], limit: 5 },
  { name: "a tensor of two tiles", lengths: [8200, 30], limit: 0.001 },
  { name: "within the limit", lengths: [20, 40], limit: 100 },
];
