// Norms of each tensor, and clipping of the gradient by its norm.
import type { Storage, Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { shapeError } from "../graph/signature.js";
import { type CaseRow, defineCases } from "./cases.js";

const normsOp = defineOp<"norms">({
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

const clipNormOp = defineOp<"g" | "norms">({
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

interface NormsRow extends CaseRow {
  lengths: readonly number[];
  limit: number;
}

const row = (name: string, lengths: readonly number[], limit: number): NormsRow => ({
  name,
  lengths,
  limit,
  dtype: "f32",
});

/** Cases of the norms of flat tensors, before and after their gradient is clipped. */
defineCases<NormsRow>({
  family: "norms",
  rows: [
    row("tensors of all sizes", [37, 1, 300, 11], 5),
    row("a tensor of two tiles", [8200, 30], 0.001),
    row("within the limit", [20, 40], 100),
  ],
  sizes: [row("two tiles of three tensors", [37, 11, 8200], 0.5), row("one number", [5, 1], 1e3)],
  large: [row("large tensors", [2_000_003, 64, 300_000], 1)],
  inputs: ({ lengths }) => {
    const shape = [lengths.reduce((sum, length) => sum + length, 0)];
    return { w: { shape, f32: true }, g: { shape, f32: true } };
  },
  build: ({ w, g }, { lengths, limit }) => {
    const before = norms(w!, g!, lengths);
    // Clipping overwrites the norms that it is given.
    const clipped = clipNorm(g!, norms(w!, g!, lengths), limit);
    return { norms: before, clipped: clipped.g, "clipped-norms": clipped.norms };
  },
  elementwise: ["norms"],
  tolerance: (_, output) => ({ norms: 2 ** -23, clipped: 2 ** -22 })[output] ?? 3e-6,
});
