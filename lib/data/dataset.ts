// What a data set is, and the table of those that can be named.

import { stat } from "node:fs/promises";
import { OnehourError } from "../errors.js";
import { nearestOf } from "../nearest.js";
import type { Augmentation } from "./augment.js";
import { openFashionMnist } from "./fashion-mnist.js";
import { openSynthetic } from "./synthetic.js";

/** Height and width in pixels, and channels, of every image of a data set. */
export interface ImageShape {
  height: number;
  width: number;
  channels: number;
}

/** The training or the test part of a data set. */
export interface Split {
  /** Images. */
  readonly length: number;
  /** Writes image `index` as u8[height, width, channels] at `offset`, and returns its label. */
  read(index: number, target: Uint8Array, offset: number): number;
}

export interface Dataset {
  /** What it was named by. */
  readonly name: string;
  readonly images: ImageShape;
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
}

/** A kind of data set: what follows the first colon of its name is `rest`. */
export type DatasetOpener = (rest: string | undefined) => Promise<Dataset>;

const builtIn: Readonly<Record<string, DatasetOpener>> = {
  "fashion-mnist": openFashionMnist,
  synthetic: openSynthetic,
};

/**
 * The data sets that can be named, by the kind before the first colon. A script may add its own for
 * runs with one worker, or, for more, where every rank runs that script: under `onehour launch`,
 * torchrun, Slurm or MPI. The workers that `train` itself starts know the built-in ones only.
 */
export const datasets: Record<string, DatasetOpener> = { ...builtIn };

/** Whether a process that does not run the user's script opens the same data set by this name. */
export function isBuiltIn(name: string): boolean {
  const kind = name.split(":", 1)[0]!;
  return Object.hasOwn(builtIn, kind) && datasets[kind] === builtIn[kind];
}

/**
 * Opens a data set by name: `fashion-mnist`, `fashion-mnist:FOLDER`, `synthetic`, or
 * `synthetic:224x224x3:1000`. Throws ERR_ONEHOUR_RECIPE when it is unknown, ERR_ONEHOUR_DATA when
 * it is missing or damaged.
 */
export async function openDataset(name: string): Promise<Dataset> {
  const colon = name.indexOf(":");
  const kind = colon < 0 ? name : name.slice(0, colon);
  const opener = Object.hasOwn(datasets, kind) ? datasets[kind] : undefined;
  if (opener) return opener(colon < 0 ? undefined : name.slice(colon + 1));
  const isFolder = await stat(name).then(
    (found) => found.isDirectory(),
    () => false,
  );
  const meant = isFolder
    ? `fashion-mnist:${name}`
    : nearestOf(kind, Object.keys(datasets)) + name.slice(kind.length);
  throw new OnehourError(
    "ERR_ONEHOUR_RECIPE",
    `${isFolder ? `cannot read the folder "${name}" as a data set of its own` : `there is no data set "${name}"`}; ` +
      `did you mean "${meant}"? Expected fashion-mnist, fashion-mnist:FOLDER (four idx files), ` +
      "synthetic or synthetic:HEIGHTxWIDTHxCHANNELS:CLASSES",
  );
}
