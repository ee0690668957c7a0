// The type of a data set: its images, its training and its test part, and how it is opened.

import type { Stage } from "../terminal/stages.js";
import type { Augmentation } from "./augment.js";
import type { Inspection } from "./images/inspection.js";

/** Height and width in pixels, and channels, of every image of a data set. */
export interface ImageShape {
  height: number;
  width: number;
  channels: number;
}

/** Images asked of a split at once, n of them, and where they go. */
export interface Request {
  indices: Uint32Array;
  /** What crops and flips are drawn from; without it the images are as they are for evaluation. */
  augment: { seed: number; epoch: number } | undefined;
  /** u8[n, height, width, channels]. */
  images: Uint8Array;
  /** i32[n]. */
  labels: Int32Array;
  /** u8[n]: 1 where the device is to mirror the image. */
  flips: Uint8Array;
}

/** A part that decodes its images, many at a time. */
export interface DecodedSplit {
  /** Images. */
  readonly length: number;
  /** Fills the request; afterwards nobody writes to it any more, even if it was rejected. */
  fill(request: Request): Promise<void>;
}

/** A part that has its images at hand; crops and flips are the loader's work. */
export interface StoredSplit {
  /** Images. */
  readonly length: number;
  /** Writes image `index` as u8[height, width, channels] at `offset`, and returns its label. */
  read(index: number, target: Uint8Array, offset: number): number;
}

/** The training or the test part of a data set. */
export type Split = StoredSplit | DecodedSplit;

export interface Dataset {
  /** What it was named by. */
  readonly name: string;
  readonly images: ImageShape;
  /** Of the images of `test`, where these are of another height and width than `images`. */
  readonly testImages?: ImageShape;
  readonly classes: number;
  /** Mean and standard deviation per channel, of pixel / 255. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly augmentation: Augmentation;
  readonly train: Split;
  readonly test: Split;
  /** Epochs of a run that names no other number. */
  readonly defaultEpochs: number;
  /** Changes when the images or labels do; all workers must have the same. */
  readonly fingerprint: string;
  /** Batches of n images to fill besides those that are queued; 1 by default. */
  readonly ahead?: (batch: number) => number;
  /**
   * Images of each shard of the training part, one shard after the other, where they are to be read in
   * sequence: epochs are then shuffled by `shardOrder`, not by one permutation of all images.
   */
  readonly shards?: readonly number[];
  /** Flaws of the images so far, where they are decoded. */
  readonly inspection?: Inspection;
  /** What the user should know of it before the run. */
  readonly notes?: readonly string[];
  /** Ends its threads, where it has some. */
  [Symbol.dispose]?(): void;
}

/** How a data set is opened; all but `say`, `warn` and `localWorkers` are for image folders. */
export interface DatasetOptions {
  /** Pixels of both sides of an image; `defaultSize`. */
  imageSize?: number | undefined;
  /** Pixels of both sides of a test image; `imageSize`. */
  testImageSize?: number | undefined;
  /** Pixels of a test image's shorter side before its centre is cut out; `defaultScale` times its size. */
  testResize?: number | undefined;
  /** Pixels where no size is named; 224. Ignored where images are as they are. */
  defaultSize?: number | undefined;
  /** The shorter side before the centre is cut out, in sides of what is cut out; 8/7, which is 256 / 224. */
  defaultScale?: number | undefined;
  /** How far brightness, contrast and saturation may change; 0. */
  colorJitter?: number | undefined;
  /** Whether a damaged image ends the run. */
  strict?: boolean | undefined;
  /** Where lists of files are kept between runs. */
  indexFolder?: string | undefined;
  /** Workers on this machine, which share its cores. */
  localWorkers?: number | undefined;
  /** Threads that decode; by default as many as a trial shows to be useful. */
  threads?: number | undefined;
  /** Called with progress while the data set opens. */
  say?: ((stage: Stage) => void) | undefined;
  /** Called with what was mended when the data set was opened. */
  warn?: ((text: string) => void) | undefined;
}

/** What the test images are. */
export const testShape = ({
  images,
  testImages = images,
}: Pick<Dataset, "images" | "testImages">) => testImages;

/** A kind of data set: what follows the first colon of its name is `rest`. */
export type DatasetOpener = (rest: string | undefined) => Promise<Dataset>;
