// What a data set is, and the table of those that can be named.

import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { OnehourError } from "../errors.js";
import { exists, isForbidden } from "../system/exists.js";
import { nearestOf } from "../text/nearest.js";
import { shown } from "../text/words.js";
import type { Augmentation } from "./augment.js";
import { openFashionMnist } from "./built-in/fashion-mnist.js";
import { openSynthetic } from "./built-in/synthetic.js";
import { openImageFolder } from "./images/image-folder.js";
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
  /** Batches of n images that are to be filled beside those that are queued; 1 by default. */
  readonly ahead?: (batch: number) => number;
  /**
   * Images of each shard of the training part, one shard behind the other, where they are to be read
   * in sequence: epochs are then shuffled as `shardOrder` tells, not by one permutation of all images.
   */
  readonly shards?: readonly number[];
  /** What was met in the images so far, where they are decoded. */
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
  /** Pixels where no size is named; 224. Ignored where images are as they are. */
  defaultSize?: number | undefined;
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
  /** Told how the opening goes on. */
  say?: ((text: string) => void) | undefined;
  /** Told what the opening had to mend. */
  warn?: ((text: string) => void) | undefined;
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

const kindOf = (name: string) => name.split(":", 1)[0]!;

/** Options that only folders of images have, and their flags. */
const ofFolders = [
  ["imageSize", "--image-size"],
  ["colorJitter", "--color-jitter"],
] as const;

/** The opener that a name's kind has; an image folder's name has none. */
function openerOf(name: string): DatasetOpener | undefined {
  const kind = kindOf(name);
  return Object.hasOwn(datasets, kind) ? datasets[kind] : undefined;
}

/** Whether a process that does not run the user's script opens the same data set by this name. */
export function isBuiltIn(name: string): boolean {
  const opener = openerOf(name);
  const kind = kindOf(name);
  return !opener || (Object.hasOwn(builtIn, kind) && opener === builtIn[kind]);
}

/**
 * Opens a data set by name: `fashion-mnist`, `fashion-mnist:FOLDER`, `synthetic`,
 * `synthetic:224x224x3:1000`, or a folder with train/CLASS/* and val/CLASS/*, or with tar
 * shards in WebDataset's layout, train-000000.tar and so on. Throws
 * ERR_ONEHOUR_RECIPE when it is unknown, ERR_ONEHOUR_DATA when it is missing or damaged.
 */
export async function openDataset(name: string, options: DatasetOptions = {}): Promise<Dataset> {
  const opener = openerOf(name);
  if (opener) {
    const colon = name.indexOf(":");
    const [, flag] = ofFolders.find(([key]) => options[key]) ?? [];
    if (flag) {
      throw new OnehourError(
        "ERR_ONEHOUR_RECIPE",
        `${flag}: the images of ${name} are as they are; expected a folder of images, or no ${flag}`,
      );
    }
    return opener(colon < 0 ? undefined : name.slice(colon + 1));
  }
  if (exists(name) && (await stat(name)).isDirectory()) return await openImageFolder(name, options);
  throw new OnehourError(
    "ERR_ONEHOUR_RECIPE",
    `there is no data set ${shown(name)}, nor a folder of that name; ${await suggestion(name)} Expected ` +
      "fashion-mnist, fashion-mnist:FOLDER (four idx files), " +
      "synthetic, synthetic:HEIGHTxWIDTHxCHANNELS:CLASSES, or a folder with train/CLASS/ and val/CLASS/ " +
      "or train-000000.tar and val-000000.tar",
  );
}

/** What a name that means nothing was probably to be: a path's neighbour, or a data set. */
async function suggestion(name: string): Promise<string> {
  if (!name.includes("/")) {
    const meant = nearestOf(kindOf(name), Object.keys(datasets)) + name.slice(kindOf(name).length);
    return `did you mean ${shown(meant)}?`;
  }
  const parent = dirname(name);
  const entries = await readdir(parent, { withFileTypes: true }).catch((error) => {
    return isForbidden(error) ? [] : undefined;
  });
  if (entries === undefined) return `${resolve(parent)} is no folder either.`;
  const folders = entries
    .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
    .map((entry) => entry.name);
  return folders.length === 0
    ? `${resolve(parent)} holds no folders that this user may see.`
    : `did you mean ${shown(join(parent, nearestOf(basename(name), folders)))}?`;
}

/** The name that a run keeps, without opening the data set. */
export function canonicalName(name: string): string {
  if (!openerOf(name)) return resolve(name);
  const prefix = "fashion-mnist:";
  return name.startsWith(prefix) ? prefix + resolve(name.slice(prefix.length)) : name;
}
