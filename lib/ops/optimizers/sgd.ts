// Stochastic gradient descent with momentum: weight decay, both forms of momentum, Nesterov's.
import type { Storage, Value } from "../../graph/graph.js";
import { defineOp } from "../../graph/graph.js";
import { shapeError } from "../../graph/signature.js";
import { defineUpdates } from "./cases.js";
import { type MomentumForm, optimizerBuilder } from "./optimizer.js";

const sgdOp = defineOp<"w" | "v" | "g" | "copy" | "finite">({
  name: "sgd",
  signature:
    "w:f32[L] g:f32[L] v:f32[L] schedule:f32[2] norms?:f32[S,3] factor?:f32[1] -> w:f32[L] v:f32[L] g?:f32[L] copy?:T[L] finite:f32[1]",
  derive: ({ sizes: { L, S } }, { segments, adapts }) => {
    const lengths = String(segments)
      .split(",")
      .map((segment) => Number(segment.split(":")[0]));
    const total = lengths.reduce((sum, length) => sum + length, 0);
    if (total !== L)
      throw shapeError("sgd", `segments of ${L} elements in all`, `${segments} (${total})`);
    if (S === undefined) return;
    for (const got of [S, (adapts as readonly number[]).length])
      if (got !== lengths.length)
        throw shapeError("sgd", `norms and adapts of ${lengths.length} segments`, `${got}`);
  },
});

export interface SgdOptions {
  form: MomentumForm;
  nesterov: boolean;
  momentum: number;
  /**
   * Ranges of the flat tensors with their weight decay λ, in order. The rate of one that adapts follows
   * its norms.
   */
  segments: readonly { length: number; decay: number; adapts?: boolean }[];
  /** τ₀, where norms are given. */
  coefficient?: number;
  /** Clears g afterwards, for gradients that accumulate. */
  zero?: boolean;
  /** Also yields w in this type. */
  copy?: "bf16" | "f16" | undefined;
  /** f32 [1], by which g is multiplied where it is given; a step whose factor is 0 is skipped. */
  factor?: Value | undefined;
  into?: Record<string, Storage>;
}

/**
 * One step of SGD with momentum, in place (Goyal et al. 2017, remarks 1 and 2).
 *
 * With g′ = g + λw, schedule = (η, c) and the new u or v on the right: gradient form u ← m·u + g′,
 * w ← w − η·u, Nesterov w ← w − η·(g′ + m·u); velocity form v ← m·c·v + η·g′, w ← w − v, Nesterov
 * w ← w − (η·g′ + m·v). A step that is skipped leaves w and u as they are, and v ← c·v. A segment that
 * adapts has η·τ for η: τ = τ₀·‖w‖ / (‖g‖ + λ‖w‖), and 1 where a norm is 0 or not a number.
 *
 * @param tensors w, g, v f32 [L]; schedule f32 [2]; norms f32 [S, 3] of the segments, from the op
 *   `norms`, where some adapt
 * @returns w and v overwritten, g where it is cleared, copy [L] where it is asked for, and
 *   finite f32 [1]: the number of elements of g that are not finite (0 is good)
 * @throws OnehourError ERR_ONEHOUR_SHAPE when lengths differ
 */
export function sgd(
  tensors: { w: Value; g: Value; v: Value; schedule: Value; norms?: Value | undefined },
  options: SgdOptions,
): { w: Value; v: Value; g?: Value; copy?: Value; finite: Value } {
  const { form, nesterov, momentum, segments, zero = false, copy, factor, into } = options;
  const adapts = segments.map((segment) => Number(segment.adapts ?? false));
  return tensors.w.graph.apply(
    sgdOp,
    { ...tensors, factor },
    {
      form,
      nesterov: Number(nesterov),
      momentum,
      segments: segments.map(({ length, decay }) => `${length}:${decay}`).join(","),
      zero: Number(zero),
      ...(tensors.norms ? { coefficient: options.coefficient!, adapts } : {}),
    },
    {
      optional: [...(zero ? ["g"] : []), ...(copy ? ["copy"] : [])],
      ...(copy ? { types: { T: copy } } : {}),
      ...(into === undefined ? {} : { into }),
    },
  );
}

const facts = {
  help: "is stochastic gradient descent",
  fixed: {},
  spares: ["gamma", "beta"], // paper, section 5.1
} as const;

export const buildSgd = optimizerBuilder(facts, (settings, spares) => ({
  update({ w, g, v, schedule, tensors, writes }) {
    const { momentum, momentumForm: form, nesterov, weightDecay } = settings;
    const segments: { length: number; decay: number }[] = [];
    for (const { length, role } of tensors) {
      const decay = spares(role) ? 0 : weightDecay;
      const previous = segments.at(-1);
      if (previous?.decay === decay) previous.length += length;
      else segments.push({ length, decay });
    }
    sgd({ w, g, v, schedule }, { form, nesterov, momentum, segments, ...writes });
  },
}));

interface SgdRow {
  name: string;
  form: MomentumForm;
  nesterov: 0 | 1;
  momentum: number;
  /** Length and weight decay. */
  segments: readonly (readonly [number, number])[];
}

const three = [
  [37, 0.0001],
  [11, 0],
  [16, 0.01],
] as const;
const two = [
  [5, 0],
  [122, 0.001],
] as const;
const many = [
  [2_000_003, 1e-4],
  [64, 0],
] as const;

/** Cases of the update, in both forms. */
defineUpdates<SgdRow>({
  family: "sgd",
  rows: [
    { name: "gradient form", form: "gradient", nesterov: 0, momentum: 0.9, segments: three },
    {
      name: "gradient form, Nesterov",
      form: "gradient",
      nesterov: 1,
      momentum: 0.9,
      segments: three,
    },
    { name: "velocity form", form: "velocity", nesterov: 0, momentum: 0.9, segments: two },
    {
      name: "velocity form, Nesterov",
      form: "velocity",
      nesterov: 1,
      momentum: 0.9,
      segments: two,
    },
    { name: "no momentum", form: "gradient", nesterov: 0, momentum: 0, segments: [[33, 0.05]] },
    { name: "one element", form: "gradient", nesterov: 1, momentum: 0.5, segments: [[1, 0.5]] },
  ],
  large: [{ name: "large update", form: "gradient", nesterov: 1, momentum: 0.9, segments: many }],
  lengths: ({ segments }) => segments.map(([length]) => length),
  update({ w, g, v, schedule, writes }, { form, nesterov, momentum, segments }) {
    const options = { form, nesterov: nesterov === 1, momentum, ...writes };
    sgd(
      { w, g, v, schedule },
      { ...options, segments: segments.map(([length, decay]) => ({ length, decay })) },
    );
  },
});
