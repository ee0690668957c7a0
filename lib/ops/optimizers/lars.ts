// Layer-wise adaptive rate scaling: momentum SGD whose rate follows the norms of each tensor.
import type { ParameterRole } from "../../models/model.js";
import { norms } from "../norms.js";
import { defineUpdates } from "./cases.js";
import { optimizerBuilder } from "./optimizer.js";
import { sgd } from "./sgd.js";

/** η of You et al., section 4.2. */
const COEFFICIENT = 0.001;

const facts = {
  help: "scales the rate of each tensor by its norms",
  fixed: { momentumForm: "velocity", momentumCorrection: false, nesterov: false },
  spares: ["gamma", "beta", "bias"],
} as const;

/**
 * v ← m·v + η·τ·(g + λw), w ← w − v, with the τ of the op `sgd`. What does not decay keeps the plain
 * rate: τ = 1.
 * Source: You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017.
 */
export const buildLars = optimizerBuilder(facts, (settings, spares) => ({
  needsNorms: true,
  update({ w, g, v, schedule, tensors, norms, writes }) {
    const { momentum, momentumForm: form, nesterov, weightDecay } = settings;
    const segments = tensors.map(({ length, role }) => ({
      length,
      decay: spares(role) ? 0 : weightDecay,
      adapts: !spares(role),
    }));
    sgd(
      { w, g, v, schedule, norms },
      { form, nesterov, momentum, segments, coefficient: COEFFICIENT, ...writes },
    );
  },
}));

interface LarsRow {
  name: string;
  momentum: number;
  decay: number;
  /** Length, role and scale. */
  tensors: readonly (readonly [number, ParameterRole, number])[];
}

/** Cases of the update with rates that follow norms. */
defineUpdates<LarsRow>({
  family: "lars",
  rows: [
    {
      name: "each kind of tensor",
      momentum: 0.9,
      decay: 0.01,
      tensors: [
        [40, "convolution", 1],
        [11, "gamma", 1],
        [11, "beta", 0.1],
        [33, "linear", 0.3],
        [5, "bias", 1],
        [8, "convolution", 0],
      ],
    },
    {
      name: "neither momentum nor decay",
      momentum: 0,
      decay: 0,
      tensors: [[65, "convolution", 2]],
    },
  ],
  sizes: [
    {
      name: "a tensor of two tiles",
      momentum: 0.9,
      decay: 1e-4,
      tensors: [
        [37, "convolution", 1],
        [11, "gamma", 1],
        [8200, "convolution", 1],
      ],
    },
    {
      name: "one number",
      momentum: 0.9,
      decay: 1e-4,
      tensors: [
        [5, "convolution", 1],
        [1, "gamma", 1],
      ],
    },
  ],
  large: [
    {
      name: "large update",
      momentum: 0.9,
      decay: 1e-4,
      tensors: [
        [2_000_003, "convolution", 1],
        [64, "gamma", 1],
        [300_000, "linear", 1],
      ],
    },
  ],
  lengths: ({ tensors }) => tensors.map(([length]) => length),
  update(range, { momentum, decay, tensors }) {
    const { w, g } = range;
    const lengths = tensors.map(([length]) => length);
    buildLars({ momentum, weightDecay: decay }).update({
      ...range,
      tensors: tensors.map(([length, role]) => ({ length, role })),
      norms: norms(w, g, lengths),
    });
  },
});
