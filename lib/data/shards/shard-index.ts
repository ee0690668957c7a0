// The list of a folder's shards: which samples there are, where in which tar, and of which class.

import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { inParallel } from "../../arrays/in-parallel.js";
import { OnehourError } from "../../errors.js";
import { setting } from "../../recipe/voice.js";
import { exists } from "../../system/exists.js";
import { readText } from "../../system/regular-file.js";
import { counted, plural } from "../../text/words.js";
import { byBytes, imageEndings } from "../images/image-files.js";
import { type Progress, subfolders } from "../images/image-index.js";
import type { ImageList, ImageParts, ImageSources } from "../images/image-list.js";
import { cachedIndex, type IndexHeader } from "../images/index-cache.js";
import { Lines } from "../images/lines.js";
import { hashName } from "../random.js";
import { windowShards } from "../sampler.js";
import { readShard } from "./shard.js";

type Part = "train" | "val";

/** The tars of both parts, sorted by their names' bytes. */
type Shards = Readonly<Record<Part, readonly string[]>>;

const names: Readonly<Record<Part, RegExp>> = {
  train: /^([^.].*[-_])?train[-_.]?\d+\.tar$/,
  val: /^([^.].*[-_])?val(idation)?[-_.]?\d+\.tar$/,
};

function dataError(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_DATA", message);
}

async function tarsOf(root: string, part: Part): Promise<string[]> {
  const tars = async (folder: string, pattern: RegExp) =>
    (await readdir(folder).catch(() => []))
      .filter((name) => pattern.test(name))
      .sort(byBytes)
      .map((name) => join(folder, name));
  const named = await tars(root, names[part]);
  return named.length > 0 ? named : await tars(join(root, part), /^[^.].*\.tar$/);
}

/**
 * The shards of a folder: train-000000.tar and so on in it, or any tars in its train/, and the same
 * for val. Undefined where there are none for training, or train/ has class folders.
 */
export async function findShards(root: string): Promise<Shards | undefined> {
  const folder = join(root, "train");
  if (exists(folder) && (await subfolders(folder)).length > 0) return undefined;
  const train = await tarsOf(root, "train");
  if (train.length === 0) return undefined;
  const val = await tarsOf(root, "val");
  if (val.length > 0) return { train, val };
  throw dataError(
    `${root} has ${train.length} training shards, such as ${basename(train[0]!)}, but none for ` +
      "validation; expected val-000000.tar and so on next to them, or tars in val/. Where each tar is one " +
      "class's images, as ImageNet comes, unpack it into a folder of its name: docs/imagenet.md shows how",
  );
}

/** What the lines of an index were made of. */
interface Header extends IndexHeader {
  /** Name, bytes, and in ms when it and its entry were last changed. */
  shards: [name: string, bytes: number, modified: number, changed: number][];
}

/** A line's fields. */
const fieldsOf = (lines: Lines, line: number) => {
  const [shard, offset, bytes, label, key, extension] = lines.fields(line);
  return {
    shard: Number(shard),
    offset: Number(offset),
    bytes: Number(bytes),
    label: Number(label),
    key: key!,
    extension: extension!,
  };
};

/** The complete samples of a part, each shard's together. */
class ShardList implements ImageList {
  readonly labels: Int32Array;
  /** Of each shard. */
  readonly sizes: number[];
  /** Lines of samples that lack something, by what they lack. */
  readonly incomplete: Readonly<Record<"image" | "label", number[]>> = { image: [], label: [] };
  /** The line of each sample. */
  private readonly lineOf: Uint32Array;

  constructor(
    private readonly shards: readonly string[],
    private readonly lines: Lines,
  ) {
    const lineOf = new Uint32Array(lines.length);
    const labels = new Int32Array(lines.length);
    this.sizes = shards.map(() => 0);
    let length = 0;
    for (let line = 0; line < lines.length; line++) {
      const { shard, bytes, label } = fieldsOf(lines, line);
      const lacking = bytes === 0 ? "image" : label < 0 ? "label" : undefined;
      if (lacking) {
        this.incomplete[lacking].push(line);
        continue;
      }
      this.sizes[shard]!++;
      labels[length] = label;
      lineOf[length++] = line;
    }
    this.labels = labels.subarray(0, length);
    this.lineOf = lineOf.subarray(0, length);
  }

  name(index: number): string {
    return this.lineName(this.lineOf[index]!);
  }

  sources(indices: Uint32Array): ImageSources {
    const offsets = new Float64Array(indices.length);
    const lengths = new Float64Array(indices.length);
    const files = Array.from(indices, (index, i) => {
      const { shard, offset, bytes } = fieldsOf(this.lines, this.lineOf[index]!);
      offsets[i] = offset;
      lengths[i] = bytes;
      return this.shards[shard]!;
    });
    return { files, offsets, lengths };
  }

  /** `2 samples without an image, such as …`, for what is left out; undefined where nothing is. */
  describeIncomplete(): string | undefined {
    const texts = Object.entries(this.incomplete)
      .filter(([, lines]) => lines.length > 0)
      .map(([what, lines]) => {
        const samples = counted(lines.length, "sample");
        return `${samples} without ${what}, such as ${this.lineName(lines[0]!)}`;
      });
    return texts.length > 0 ? texts.join("; ") : undefined;
  }

  private lineName(line: number): string {
    const { shard, offset, key, extension } = fieldsOf(this.lines, line);
    return `${this.shards[shard]}, offset ${offset}: ${key}${extension && `.${extension}`}`;
  }
}

/** Two lines with the same key, if there are such; without a table of all keys. */
function repeatedKey(lines: Lines): [number, number] | undefined {
  const hashes = Float64Array.from({ length: lines.length }, (_, line) => {
    const { key } = fieldsOf(lines, line);
    return hashName(key) * 2 ** 21 + (hashName(`.${key}`) >>> 11);
  });
  const sorted = hashes.toSorted();
  const repeated = new Set(sorted.filter((hash, i) => i > 0 && hash === sorted[i - 1]));
  const seen = new Map<string, number>();
  for (let line = 0; repeated.size > 0 && line < lines.length; line++) {
    if (!repeated.has(hashes[line]!)) continue;
    const { key } = fieldsOf(lines, line);
    const other = seen.get(key);
    if (other !== undefined) return [other, line];
    seen.set(key, line);
  }
  return undefined;
}

/** Lines `shard TAB offset TAB bytes TAB label TAB key TAB extension`, in the shards' order. */
async function listSamples(shards: readonly string[], progress: Progress): Promise<Buffer> {
  let samples = 0;
  let done = 0;
  const parts = await inParallel(shards, async (path, shard) => {
    const found = await readShard(path);
    samples += found.length;
    progress(samples, ++done, shards.length);
    const lines = found.map(({ offset, bytes, label, key, extension }) =>
      [shard, offset, bytes, label, key, `${extension}\n`].join("\t"),
    );
    return Buffer.from(lines.join(""));
  });
  const body = Buffer.concat(parts);
  const lines = new Lines(body);
  const twice = repeatedKey(lines);
  if (twice) {
    const [first, second] = twice.map((line) => fieldsOf(lines, line));
    throw dataError(
      `${shards[second!.shard]}, offset ${second!.offset}: the sample ${second!.key} is in ` +
        `${shards[first!.shard]} too, at offset ${first!.offset}; expected each sample once. ` +
        "Remove one of the shards, or pack them with other names",
    );
  }
  return body;
}

async function indexShards(
  folder: string,
  shards: readonly string[],
  cache: string,
  progress: Progress,
  warn: (text: string) => void,
): Promise<{ list: ShardList; digest: string }> {
  const header: Header = {
    folder,
    shards: await inParallel(shards, async (path) => {
      const { size, mtimeMs, ctimeMs } = await stat(path).catch((error) => {
        throw dataError(
          `cannot read ${path} (${error.message}); expected a tar that this user may read. Make it ` +
            "so, or remove it",
        );
      });
      return [basename(path), size, mtimeMs, ctimeMs];
    }),
  };
  const list = async () => ({ lines: await listSamples(shards, progress), found: {} });
  const { lines, digest } = await cachedIndex({ cache, header, list, warn });
  const found = new ShardList(shards, lines);
  if (found.labels.length > 0) return { list: found, digest };
  throw dataError(
    `${shards[0]}${shards.length > 1 ? ` and the ${shards.length - 1} after it` : ""}: no sample ` +
      `has an image and a label (${found.describeIncomplete() ?? "there is none"}); expected members ` +
      `NAME.jpg (or ${imageEndings}) and NAME.cls with a number, or NAME.json with it as label`,
  );
}

/** The names in classes.txt, one a line; undefined where there is no such file. */
async function readClasses(file: string): Promise<string[] | undefined> {
  const text = await readText(file).catch((error) => {
    if (error.code === "ENOENT") return undefined;
    throw dataError(`cannot read ${file} (${error.message}); expected one class's name a line`);
  });
  const found = text?.split("\n").filter((line) => line.trim() !== "");
  if (found?.length === 0) {
    throw dataError(`${file} names no class; expected one a line. Fill it, or remove it`);
  }
  return found;
}

function requireLabelsBelow(list: ShardList, classes: number, source: string): void {
  const index = list.labels.findIndex((label) => label >= classes);
  if (index < 0) return;
  throw dataError(
    `${list.name(index)} has the label ${list.labels[index]}; expected 0 to ${classes - 1}, since ` +
      `${source}. Mend the label, or the number of classes`,
  );
}

/** How an epoch is shuffled, for a run's first lines. */
function describeShuffle(shards: number): string {
  if (shards <= windowShards) {
    return `${plural(shards, "training shard")}, shuffled together image by image`;
  }
  return (
    `${shards} training shards: each epoch permutes them, and shuffles image by image only within ` +
    `windows of ${windowShards} shards or fewer, not over all images as for class folders`
  );
}

/**
 * The training and validation samples of shards in WebDataset's layout. There are as many classes as
 * classes.txt in `root` has lines, or else one more than the largest training label. Samples without
 * image or label are left out, which `notes` says, or refused where `strict`. The lists are kept in
 * `cache`, and made anew when a shard's size or modification time has changed. Throws
 * ERR_ONEHOUR_DATA with the file, the offset and what was expected.
 */
export async function listShards(
  root: string,
  shards: Shards,
  cache: string,
  progress: (part: Part) => Progress,
  warn: (text: string) => void,
  strict: boolean,
): Promise<ImageParts> {
  const index = (part: Part) =>
    indexShards(join(root, part), shards[part], cache, progress(part), warn);
  const train = await index("train");
  const val = await index("val");
  const file = join(root, "classes.txt");
  const named = await readClasses(file);
  const classes = named?.length ?? train.list.labels.reduce((a, b) => Math.max(a, b), 0) + 1;
  const source = named ? `${file} has ${classes} names` : "that is the training shards' range";
  const notes = [describeShuffle(shards.train.length)];
  const present = new Set(train.list.labels).size;
  if (present < classes) {
    notes.push(
      `warning: the training shards have images of ${present} of ${plural(classes, "class")}; there are as many ` +
        (named ? `as ${file} names` : `as the largest label says, without ${file}`),
    );
  }
  for (const { list } of [train, val]) {
    requireLabelsBelow(list, classes, source);
    const incomplete = list.describeIncomplete();
    if (incomplete === undefined) continue;
    if (strict)
      throw dataError(
        `${incomplete}; with ${setting("strict", true)} that ends the run. Mend the shard, or go on ` +
          `with ${setting("strict", false)}`,
      );
    notes.push(`left out: ${incomplete}`);
  }
  return {
    classes,
    train: train.list,
    test: val.list,
    digest: `${classes}:${train.digest}:${val.digest}`,
    shards: train.list.sizes,
    notes,
  };
}
