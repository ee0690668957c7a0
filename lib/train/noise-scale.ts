// The gradient noise scale: at which minibatch the noise of the gradient is as large as the gradient itself.
import type { Recipe } from "../recipe/fields.js";
import type { NoiseSums } from "../run-folder/position.js";

/** Squared norms of a step's mean gradients: over smaller batches, averaged over these, and over the minibatch. */
export interface Squares {
  small: number;
  large: number;
}

/** What a step counts for in the next one's sums: steps before the last hundred or so hardly count. */
const kept = 0.99;

/** Images of the smaller batch: a worker's part of the step, or with one worker a micro-batch. */
const smallBatch = ({ workers, accumulate, batch }: Sizes): number =>
  workers > 1 ? accumulate * batch : batch;

type Sizes = Pick<Recipe, "workers" | "accumulate" | "batch">;

/**
 * Adds a step's estimates, both unbiased: with b and B images, S is (|g_b|² − |g_B|²) / (1/b − 1/B) and |G|² is
 * (B·|g_B|² − b·|g_b|²) / (B − b). A step that is not finite does not count.
 * Source: McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", appendix A.1.
 */
export function addNoise(
  sums: NoiseSums | undefined,
  { small, large }: Squares,
  sizes: Sizes,
): NoiseSums | undefined {
  const b = smallBatch(sizes);
  const B = sizes.workers * sizes.accumulate * sizes.batch;
  const noise = (small - large) / (1 / b - 1 / B);
  const signal = (B * large - b * small) / (B - b);
  if (!Number.isFinite(noise + signal)) return sums;
  const { noiseSum, signalSum } = sums ?? { noiseSum: 0, signalSum: 0 };
  return { noiseSum: kept * noiseSum + noise, signalSum: kept * signalSum + signal };
}

/**
 * S/|G|², in images: a ratio of two averages, which is not unbiased, but settles as they do. Undefined while
 * noise hides the gradient, or there is none, so that an average is not above 0.
 */
export function noiseScaleOf({ noiseSum, signalSum }: NoiseSums): number | undefined {
  return noiseSum > 0 && signalSum > 0 ? noiseSum / signalSum : undefined;
}

/** The line at a run's end. */
export function noiseLine(sums: NoiseSums): string {
  const scale = noiseScaleOf(sums);
  if (scale === undefined)
    return sums.noiseSum > 0
      ? "critical minibatch unknown: over the last steps the noise hides the gradient; train longer, or with a larger minibatch"
      : "critical minibatch unknown: over the last steps the gradients of a minibatch's parts are no larger than its " +
          "own, so they show no noise; train longer, or with a smaller batch";
  return (
    `critical minibatch about ${Number(scale.toPrecision(2)).toLocaleString("en-US")} ` +
    "(gradient noise scale of about the last hundred steps)"
  );
}
