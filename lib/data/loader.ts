// Fills input slots with images, flips, labels and the step's learning rate.

import { setImmediate } from "node:timers/promises";
import { drawAugmentation, shiftImage } from "./augment.js";
import type { Dataset } from "./dataset.js";

/** A range of bytes in a slot. */
export interface Slice {
  offset: number;
  bytes: number;
}

/** Where things lie in an input slot: u8[n,H,W,C], u8[n], i32[n] and f32[2]. */
export interface InputLayout {
  images: Slice;
  flips: Slice;
  labels: Slice;
  schedule: Slice;
}

export interface LoaderOptions {
  dataset: Dataset;
  layout: InputLayout;
  /** Images n of a slot. */
  batch: number;
  seed: number;
  /** Whether training images are cropped and flipped. */
  augment: boolean;
}

const longestStretch = 2; // ms of work between two turns of the event loop

/** Writes batches into slots. Nothing is kept between calls. */
export class Loader {
  private readonly scratch: Uint8Array;
  private readonly imageBytes: number;

  constructor(private readonly options: LoaderOptions) {
    const { height, width, channels } = options.dataset.images;
    this.imageBytes = height * width * channels;
    this.scratch = new Uint8Array(this.imageBytes);
  }

  /** The training images `indices`, augmented for `epoch`, and (η, c) for the update. */
  async fillTraining(
    slot: Uint8Array,
    indices: Uint32Array,
    epoch: number,
    learningRate: number,
    momentumFactor: number,
  ): Promise<void> {
    const { dataset, layout, seed, augment } = this.options;
    const labels = this.view(slot, layout.labels, Int32Array);
    let turn = performance.now();
    for (let i = 0; i < indices.length; i++) {
      if (performance.now() - turn > longestStretch) {
        await setImmediate(); // signals and the ends of earlier steps are seen in time
        turn = performance.now();
      }
      const index = indices[i]!;
      const offset = layout.images.offset + i * this.imageBytes;
      if (!augment) {
        labels[i] = dataset.train.read(index, slot, offset);
        slot[layout.flips.offset + i] = 0;
        continue;
      }
      const draw = drawAugmentation(dataset.augmentation, seed, epoch, index);
      slot[layout.flips.offset + i] = draw.flip ? 1 : 0;
      if (draw.down === 0 && draw.right === 0) {
        labels[i] = dataset.train.read(index, slot, offset);
      } else {
        labels[i] = dataset.train.read(index, this.scratch, 0);
        shiftImage(this.scratch, dataset.images, draw.down, draw.right, slot, offset);
      }
    }
    const schedule = this.view(slot, layout.schedule, Float32Array);
    schedule[0] = learningRate;
    schedule[1] = momentumFactor;
  }

  /** Test images first … first + count − 1 (count ≤ n); the rest gets label −1, counted nowhere. */
  fillEvaluation(slot: Uint8Array, first: number, count: number): void {
    const { dataset, layout, batch } = this.options;
    const labels = this.view(slot, layout.labels, Int32Array);
    slot.fill(0, layout.flips.offset, layout.flips.offset + batch);
    for (let i = 0; i < batch; i++) {
      const offset = layout.images.offset + i * this.imageBytes;
      if (i < count) {
        labels[i] = dataset.test.read(first + i, slot, offset);
      } else {
        slot.fill(0, offset, offset + this.imageBytes);
        labels[i] = -1;
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
