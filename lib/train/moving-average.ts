// The exponential moving average of a run's weights: in which steps it moves, and how far.
import type { Recipe } from "../recipe/fields.js";

/**
 * The share that the average takes of the weights after step i, from 0: 1 − d in every N-th step, else 0. The
 * device knows which update is the first, that copies, and which step is skipped.
 */
export function emaRate({ emaDecay, emaSteps = 1 }: Pick<Recipe, "emaDecay" | "emaSteps">) {
  return (step: number): number =>
    emaDecay === undefined || step % emaSteps !== 0 ? 0 : 1 - emaDecay;
}
