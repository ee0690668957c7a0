// Augmentation of small images: a random crop of the zero-padded image, and a horizontal flip.

import { Purpose, Random } from "./random.js";

/** What is done to training images: padding in pixels before the crop, and whether to flip. */
export interface Augmentation {
  padding: number;
  flip: boolean;
}

/** The draw for one image: its offset in pixels (down, right) and whether it is mirrored. */
interface AugmentationDraw {
  down: number;
  right: number;
  flip: boolean;
}

/** Draws for image `index` in epoch `epoch`; depends on nothing else than these and the seed. */
export function drawAugmentation(
  augmentation: Augmentation,
  seed: number,
  epoch: number,
  index: number,
): AugmentationDraw {
  const random = new Random(seed, Purpose.augmentation, epoch, index);
  const places = 2 * augmentation.padding + 1;
  const down = random.below(places) - augmentation.padding;
  const right = random.below(places) - augmentation.padding;
  return { down, right, flip: augmentation.flip && random.below(2) === 1 };
}

/** Copies an image u8[height, width, channels] moved by (down, right) pixels; what enters is 0. */
export function shiftImage(
  source: Uint8Array,
  shape: { height: number; width: number; channels: number },
  down: number,
  right: number,
  target: Uint8Array,
  offset: number,
): void {
  const { height, width, channels } = shape;
  const row = width * channels;
  if (down !== 0 || right !== 0) target.fill(0, offset, offset + height * row);
  const from = Math.max(0, -right) * channels;
  const to = Math.max(0, right) * channels;
  const length = row - Math.abs(right) * channels;
  if (length <= 0) return;
  for (let y = Math.max(0, down); y < Math.min(height, height + down); y++) {
    const start = (y - down) * row + from;
    target.set(source.subarray(start, start + length), offset + y * row + to);
  }
}
