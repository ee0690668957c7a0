// A learnable task of any size, made on the fly: each class is a coarse pattern under noise.

import { OnehourError } from "../../errors.js";
import type { Dataset, Split } from "../dataset.js";
import { Purpose, Random } from "../random.js";

const cells = 4; // a class's pattern has 4 × 4 cells, the right half mirroring the left
const expected =
  "synthetic, synthetic:28x28x1, synthetic:224x224x3:1000 (height × width × channels : classes) " +
  "or synthetic:28x28x1:10:8192 (… : training images)";

function parse(rest: string | undefined): {
  height: number;
  width: number;
  channels: number;
  classes: number;
  images: number;
} {
  const match =
    /^(?:(\d{1,4})x(\d{1,4})x(\d{1,3})(?::(\d{1,6})(?::(\d{1,9}))?)?)?$/.exec(rest ?? "") ?? [];
  const [height, width, channels] = [match[1] ?? 28, match[2] ?? 28, match[3] ?? 1].map(Number);
  const classes = Number(match[4] ?? 10);
  const images = Number(match[5] ?? 8192);
  const problem =
    match.length === 0
      ? "cannot read the shape"
      : Math.min(height!, width!) < 8
        ? "height and width must be 8 pixels or more"
        : channels! < 1
          ? "there must be a channel"
          : classes < 2
            ? "there must be 2 classes or more"
            : images < 1
              ? "there must be an image"
              : undefined;
  if (problem) {
    throw new OnehourError(
      "ERR_ONEHOUR_RECIPE",
      `synthetic:${rest}: ${problem}; expected ${expected}`,
    );
  }
  return { height: height!, width: width!, channels: channels!, classes, images };
}

/** Opens `synthetic[:HxWxC[:classes[:images]]]`; image i is the same in every process. */
export async function openSynthetic(rest: string | undefined): Promise<Dataset> {
  const { height, width, channels, classes, images } = parse(rest);
  const patterns = new Map<number, Uint8Array>();

  // Values in [64, 192) on the cells × cells grid of a class.
  const pattern = (label: number): Uint8Array => {
    const known = patterns.get(label);
    if (known) return known;
    const values = new Uint8Array(cells * cells * channels);
    const random = new Random(0, Purpose.synthetic, 0, label);
    for (let y = 0; y < cells; y++) {
      for (let x = 0; x < cells / 2; x++) {
        for (let c = 0; c < channels; c++) {
          const value = 64 + random.below(128);
          values[(y * cells + x) * channels + c] = value;
          values[(y * cells + cells - 1 - x) * channels + c] = value;
        }
      }
    }
    patterns.set(label, values);
    return values;
  };

  const split = (part: number, length: number): Split => ({
    length,
    read(index, target, offset) {
      const random = new Random(0, Purpose.synthetic, part, index);
      const label = random.below(classes);
      const values = pattern(label);
      let noise = random.uint32() | 1;
      let at = offset;
      for (let y = 0; y < height; y++) {
        const row = Math.floor((y * cells) / height) * cells;
        for (let x = 0; x < width; x++) {
          const cell = (row + Math.floor((x * cells) / width)) * channels;
          for (let c = 0; c < channels; c++) {
            noise ^= noise << 13; // xorshift32 (Marsaglia 2003)
            noise ^= noise >>> 17;
            noise ^= noise << 5;
            target[at++] = values[cell + c]! + (noise >> 26) * 2; // noise in [-64, 62]
          }
        }
      }
      return label;
    },
  });

  const name = rest === undefined ? "synthetic" : `synthetic:${rest}`;
  return {
    name,
    images: { height, width, channels },
    classes,
    mean: new Array<number>(channels).fill(0.5),
    std: new Array<number>(channels).fill(0.2),
    augmentation: { padding: Math.min(height, width) <= 64 ? 2 : 0, flip: true },
    train: split(1, images),
    test: split(2, Math.max(1, Math.floor(images / 16))),
    defaultEpochs: 10,
    fingerprint: `synthetic:${height}x${width}x${channels}:${classes}:${images}`,
  };
}
