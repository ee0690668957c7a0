// Fills input slots with images, flips and labels.

import { setImmediate } from "node:timers/promises";
import { native } from "../device/native.js";
import { drawAugmentation, shiftImage } from "./augment.js";
import {
  type Dataset,
  type ImageShape,
  type Request,
  type Split,
  type StoredSplit,
  testShape,
} from "./dataset.js";

/** A range of bytes in a slot. */
export interface Slice {
  offset: number;
  bytes: number;
}

/** Where a batch lies in an input slot: u8[n,H,W,C], u8[n] and i32[n]. */
export interface InputLayout {
  images: Slice;
  flips: Slice;
  labels: Slice;
}

interface LoaderOptions {
  dataset: Dataset;
  layout: InputLayout;
  /** Images n of a slot. */
  batch: number;
  seed: number;
  /** Whether training images are cropped and flipped. */
  augment: boolean;
}

const bytesOf = ({ height, width, channels }: ImageShape) => height * width * channels;

const longestStretch = 2; // ms of work between two turns of the event loop

/** Writes batches into slots. Nothing is kept between calls, of which several may go on at once. */
export class Loader {
  private scratch: Uint8Array | undefined; // of one image, for no longer than a turn

  constructor(private readonly options: LoaderOptions) {}

  /** The training images `indices`, n of them, augmented for `epoch`. */
  async fillTraining(slot: Uint8Array, indices: Uint32Array, epoch: number): Promise<void> {
    const { dataset, seed, augment } = this.options;
    const draws = augment ? { seed, epoch } : undefined;
    await this.fill(dataset.train, this.request(slot, dataset.images, indices, draws));
  }

  /** Test images first … first + count − 1 (count ≤ n); the rest gets label −1, counted nowhere. */
  async fillEvaluation(slot: Uint8Array, first: number, count: number): Promise<void> {
    const { dataset, layout } = this.options;
    const { images, flips } = layout;
    const shape = testShape(dataset);
    const indices = Uint32Array.from({ length: count }, (_, i) => first + i);
    slot.fill(0, images.offset + count * bytesOf(shape), images.offset + images.bytes);
    slot.fill(0, flips.offset + count, flips.offset + flips.bytes);
    this.view(slot, layout.labels, Int32Array).fill(-1, count);
    await this.fill(dataset.test, this.request(slot, shape, indices, undefined));
  }

  private request(
    slot: Uint8Array,
    shape: ImageShape,
    indices: Uint32Array,
    augment: Request["augment"],
  ): Request {
    const { images, flips, labels } = this.options.layout;
    const count = indices.length;
    return {
      indices,
      augment,
      images: slot.subarray(images.offset, images.offset + count * bytesOf(shape)),
      labels: this.view(slot, labels, Int32Array).subarray(0, count),
      flips: slot.subarray(flips.offset, flips.offset + count),
    };
  }

  private async fill(split: Split, request: Request): Promise<void> {
    await native.whileReading(async () => {
      if ("fill" in split) await split.fill(request);
      else await this.copy(split, request);
    });
  }

  /** Fills from a split that has its images at hand. */
  private async copy(split: StoredSplit, request: Request): Promise<void> {
    const { dataset } = this.options;
    const { indices, augment, images, labels, flips } = request;
    const imageBytes = images.length / indices.length;
    let turn = performance.now();
    for (const [i, index] of indices.entries()) {
      if (performance.now() - turn > longestStretch) {
        await setImmediate(); // signals and the ends of earlier steps are seen in time
        native.advanceProgress(); // a batch may take longer than a run waits for a sign of life
        turn = performance.now();
      }
      const offset = i * imageBytes;
      const draw = augment
        ? drawAugmentation(dataset.augmentation, augment.seed, augment.epoch, index)
        : { down: 0, right: 0, flip: false };
      flips[i] = draw.flip ? 1 : 0;
      if (draw.down === 0 && draw.right === 0) {
        labels[i] = split.read(index, images, offset);
      } else {
        this.scratch ??= new Uint8Array(imageBytes);
        labels[i] = split.read(index, this.scratch, 0);
        shiftImage(this.scratch, dataset.images, draw.down, draw.right, images, offset);
      }
    }
  }

  private view<T>(
    slot: Uint8Array,
    slice: Slice,
    type: new (buffer: ArrayBufferLike, offset: number, length: number) => T,
  ): T {
    return new type(slot.buffer, slot.byteOffset + slice.offset, slice.bytes / 4);
  }
}
