// Draws the crop, the flip and the jitter of colors for each training image of a folder.

import { Purpose, Random } from "../random.js";

const attempts = 10;
const leastArea = 0.08;
const narrowest = 3 / 4;
const widest = 4 / 3;

/** Numbers drawn for a crop: `attempts` areas, as many aspects, and its place across and down. */
export const cropNumbers = 2 * attempts + 2;
/** Factors of brightness, contrast and saturation. */
export const jitterNumbers = 3;

/**
 * Draws for image `index` in epoch `epoch` and writes the crop's numbers and, if `jitter` is above 0,
 * the factors; returns whether the image is mirrored. Areas are uniform in [0.08, 1], aspects
 * log-uniform in [3/4, 4/3] (paper, section 5.1), factors uniform in [1 − jitter, 1 + jitter].
 * Depends on nothing else than seed, epoch and index.
 */
export function drawCrop(
  seed: number,
  epoch: number,
  index: number,
  crop: Float64Array,
  jitter: number,
  factors: Float64Array,
): boolean {
  const random = new Random(seed, Purpose.augmentation, epoch, index);
  for (let i = 0; i < attempts; i++) {
    crop[i] = leastArea + (1 - leastArea) * random.uniform();
    crop[attempts + i] = narrowest * (widest / narrowest) ** random.uniform();
  }
  crop[2 * attempts] = random.uniform();
  crop[2 * attempts + 1] = random.uniform();
  const flip = random.below(2) === 1;
  if (jitter > 0) {
    for (let i = 0; i < jitterNumbers; i++) {
      factors[i] = Math.max(0, 1 + jitter * (2 * random.uniform() - 1));
    }
  }
  return flip;
}
