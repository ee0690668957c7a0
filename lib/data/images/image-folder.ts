// A folder of images, in ImageNet's layout (train/CLASS/* and val/CLASS/*) or in tar shards, decoded as
// they are needed.

import { join, resolve } from "node:path";
import { OnehourError, UsageError } from "../../errors.js";
import { exists } from "../../system/exists.js";
import type { Stage } from "../../terminal/stages.js";
import { counted, plural, warning } from "../../text/words.js";
import type { Dataset, DatasetOptions, DecodedSplit, Request } from "../dataset.js";
import { findShards, listShards } from "../shards/shard-index.js";
import { cropNumbers, drawCrop, jitterNumbers } from "./crop.js";
import { type Flaw, ImageDecoder, startDecoder } from "./image-decoder.js";
import { indexPart, type Progress } from "./image-index.js";
import type { ImageList, ImageParts } from "./image-list.js";
import { Inspection } from "./inspection.js";
import { type Sides, sidesOf } from "./sides.js";

/** Mean and deviation of ImageNet's training images, of pixel / 255. */
const mean = [0.485, 0.456, 0.406];
const std = [0.229, 0.224, 0.225];
const sampleSize = 16; // images
const mostLost = 100; // in a row
const grey = 128;
const mostAhead = 8; // batches

/** What both parts of a folder share. */
interface Source {
  jitter: number;
  decoder: ImageDecoder;
  inspection: Inspection;
}

class FolderSplit implements DecodedSplit {
  readonly length: number;

  constructor(
    private readonly list: ImageList,
    private readonly source: Source,
    private readonly sides: Sides,
    /** Whether an image of which nothing can be decoded is replaced. */
    private readonly replaces: boolean,
  ) {
    this.length = list.labels.length;
  }

  /**
   * A training image of which nothing can be decoded is replaced by the next in the list that can,
   * with its label: the same one whichever rank meets it. A test image counts as it is, grey.
   */
  async fill(request: Request): Promise<void> {
    const { indices, images, labels } = request;
    for (const [i, index] of indices.entries()) labels[i] = this.list.labels[index]!;
    const flaws = await this.decode(request);
    for (const flaw of flaws) {
      this.source.inspection.note(this.list.name(indices[flaw.image]!), flaw);
      if (!flaw.lost) continue;
      if (this.replaces) await this.replace(request, flaw.image);
      else place(images, flaw.image, indices.length).fill(grey);
    }
  }

  private async replace(request: Request, image: number): Promise<void> {
    const { indices, images, labels, flips } = request;
    const lost = indices[image]!;
    for (let next = 1; next <= Math.min(mostLost, this.length - 1); next++) {
      const index = (lost + next) % this.length;
      const [flaw] = await this.decode({
        ...request,
        indices: Uint32Array.of(index),
        images: place(images, image, indices.length),
        flips: flips.subarray(image, image + 1),
      });
      if (flaw) this.source.inspection.note(this.list.name(index), flaw);
      if (flaw?.lost) continue;
      labels[image] = this.list.labels[index]!;
      return;
    }
    throw new OnehourError(
      "ERR_ONEHOUR_DATA",
      `${this.list.name(lost)} cannot be decoded, nor can the ${Math.min(mostLost, this.length - 1)} ` +
        "images after it; expected JPEG, PNG, WebP, GIF, TIFF, BMP, PPM or PGM images. Look at the first of them",
    );
  }

  private async decode({ indices, augment, images, flips }: Request): Promise<Flaw[]> {
    const { jitter, decoder } = this.source;
    const view = { ...this.list.sources(indices), target: images, ...this.sides };
    flips.fill(0);
    if (!augment) return await decoder.decode(view);
    const crops = new Float64Array(indices.length * cropNumbers);
    const jitters = new Float64Array(indices.length * jitterNumbers);
    for (const [i, index] of indices.entries()) {
      const crop = crops.subarray(i * cropNumbers, (i + 1) * cropNumbers);
      const factors = jitters.subarray(i * jitterNumbers, (i + 1) * jitterNumbers);
      const { seed, epoch } = augment;
      flips[i] = drawCrop(seed, epoch, index, crop, jitter, factors) ? 1 : 0;
    }
    return await decoder.decode({ ...view, crops, ...(jitter > 0 ? { jitters } : {}) });
  }
}

/** The part of u8[n, size, size, 3] that is one image's. */
function place(images: Uint8Array, image: number, of: number): Uint8Array {
  const bytes = images.length / of;
  return images.subarray(image * bytes, (image + 1) * bytes);
}

/** Where lists of files are kept by default: in runs/ for a user without a home. */
function defaultIndexFolder(): string {
  const { XDG_CACHE_HOME: cache, HOME: home } = process.env;
  if (!cache && !home) return join("runs", ".indexes");
  return join(cache || join(home!, ".cache"), "onehour", "indexes");
}

/** Shows how many classes of a part have been listed. */
function listing(part: string, say: (stage: Stage) => void): Progress {
  return (files, done, classes) =>
    say({ text: `listing ${part}`, share: done / classes, details: [counted(files, "image")] });
}

/** Batches to fill at once so that no thread waits for the last image of one: two images each. */
function batchesAhead(threads: number, batch: number): number {
  return Math.min(mostAhead, 1 + Math.ceil((2 * threads) / batch));
}

/** Indices spread evenly over a list. */
function spread(length: number): Uint32Array {
  const count = Math.min(sampleSize, length);
  return Uint32Array.from({ length: count }, (_, i) => Math.floor((i * length) / count));
}

/** Says which classes the validation images lack. */
function lackingNotes(classes: readonly string[], tested: ImageList): string[] {
  const present = new Set(tested.labels);
  const lacking = classes.filter((_, label) => !present.has(label));
  return lacking.length === 0
    ? []
    : [
        warning(
          `val/ has no image of ${lacking.length} of ${plural(classes.length, "class")}, such as ${lacking[0]}`,
        ),
      ];
}

/** The images in class folders, numbered in the order of their names' bytes. */
async function listFolders(
  root: string,
  cache: string,
  progress: (part: string) => Progress,
  warn: (text: string) => void,
): Promise<ImageParts> {
  if (!exists(join(root, "train"))) {
    throw new UsageError(
      "ERR_ONEHOUR_DATA",
      `the folder ${root} holds no train/; expected train/CLASS/ and val/CLASS/ with images in them, ` +
        "or shards train-000000.tar, … and val-000000.tar, … in WebDataset's layout. " +
        `Four idx files of Fashion-MNIST are named fashion-mnist:${root}`,
    );
  }
  const trained = await indexPart(join(root, "train"), cache, progress("train"), warn);
  const tested = await indexPart(join(root, "val"), cache, progress("val"), warn, trained.classes);
  return {
    classes: trained.classes.length,
    train: trained.files,
    test: tested.files,
    digest: `${trained.digest}:${tested.digest}`,
    notes: [...trained.notes, ...tested.notes, ...lackingNotes(trained.classes, tested.files)],
  };
}

/**
 * Opens a folder with train/CLASS/* and val/CLASS/*, or, where train/ has no subfolders, with tar
 * shards (see `listShards`; their epochs are shuffled by `shardOrder`). Every image becomes a
 * square, of `imageSize` pixels in training and of `testImageSize` in the test. Throws ERR_ONEHOUR_RECIPE for
 * sizes that cannot be, ERR_ONEHOUR_DATA.
 */
export async function openImageFolder(name: string, options: DatasetOptions): Promise<Dataset> {
  const root = resolve(name);
  const sides = sidesOf(options);
  const { size } = sides.train;
  const { colorJitter: jitter = 0, strict = false } = options;
  const { indexFolder = defaultIndexFolder(), localWorkers = 1 } = options;
  const { say = () => {}, warn = () => {} } = options;
  const progress = (part: string) => listing(part, say);
  const shards = await findShards(root);
  const { train, test, classes, digest, ...order } = shards
    ? await listShards(root, shards, indexFolder, progress, warn, strict)
    : await listFolders(root, indexFolder, progress, warn);
  const sample = spread(train.labels.length);
  const decoder = options.threads
    ? new ImageDecoder(options.threads)
    : await startDecoder(
        {
          ...train.sources(sample),
          target: new Uint8Array(sample.length * size * size * 3),
          ...sides.train,
        },
        localWorkers,
      );
  const inspection = new Inspection(strict, decoder);
  const source = { jitter, decoder, inspection };
  const shape = (side: number) => ({ height: side, width: side, channels: 3 });
  const tested = sides.test.size;
  return {
    name: root,
    images: shape(size),
    ...(tested === size ? {} : { testImages: shape(tested) }),
    classes,
    mean,
    std,
    augmentation: { padding: 0, flip: true },
    train: new FolderSplit(train, source, sides.train, true),
    test: new FolderSplit(test, source, sides.test, false),
    defaultEpochs: 90,
    fingerprint: `folder:${size}:${jitter}:${digest}`,
    ahead: (batch) => batchesAhead(decoder.threads, batch),
    inspection,
    [Symbol.dispose]: () => decoder.dispose(),
    ...order,
  };
}
