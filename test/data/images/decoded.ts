// Images of one color, and what a data set of decoded images fills a batch with.
import sharp from "sharp";
import type { DecodedSplit } from "../../../lib/data/dataset.js";

/** An image of one color, to be encoded. */
export const flat = (width: number, height: number, [r, g, b] = [200, 90, 30]) =>
  sharp({ create: { width, height, channels: 3, background: { r: r!, g: g!, b: b! } } });

/** Images, labels and flips of a part, unaugmented unless an epoch is given; images are `size` wide. */
export async function fill(
  part: unknown,
  size: number,
  indices: number[],
  augment?: { seed: number; epoch: number },
) {
  const bytes = size * size * 3;
  const request = {
    indices: Uint32Array.from(indices),
    augment,
    images: new Uint8Array(indices.length * bytes),
    labels: new Int32Array(indices.length).fill(-7),
    flips: new Uint8Array(indices.length).fill(9),
  };
  await (part as DecodedSplit).fill(request);
  const { images, labels, flips } = request;
  const image = (i: number) => images.subarray(i * bytes, (i + 1) * bytes);
  return { images, image, labels: [...labels], flips: [...flips] };
}
