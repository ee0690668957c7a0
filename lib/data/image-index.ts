// The list of a folder's images: which files there are, in which class, and of what size.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { OnehourError } from "../errors.js";
import { type FlatLabels, isPicture, readFlatLabels } from "./flat-validation.js";

/** Files of the training or the validation part; kept as bytes, since there may be millions. */
export class FileList {
  private readonly starts: Uint32Array;

  /** `paths`: relative to the part's folder, each with a line feed behind it. */
  constructor(
    private readonly paths: Buffer,
    readonly labels: Int32Array,
  ) {
    this.starts = new Uint32Array(labels.length + 1);
    for (let i = 0, at = 0; i < labels.length; i++) {
      at = paths.indexOf(0x0a, at) + 1;
      this.starts[i + 1] = at;
    }
  }

  get length(): number {
    return this.labels.length;
  }

  /** Path of file `index`, relative to the part's folder. */
  path(index: number): string {
    return this.paths.toString("utf8", this.starts[index]!, this.starts[index + 1]! - 1);
  }
}

/** A part of a folder: its files, and what tells whether it has changed since. */
export interface IndexedPart {
  classes: string[];
  files: FileList;
  /** SHA-256 of classes, paths and sizes in bytes. */
  digest: string;
}

/** What an index was made of; another one is made where anything differs. */
interface Header {
  version: 1;
  folder: string;
  classes: string[];
  /** Modification times in ms: of the part's folder, of each class's, or of the file with labels. */
  times: number[];
  images: number;
}

/** Told how many files of how many classes have been listed. */
export type Progress = (files: number, done: number, classes: number) => void;

const statsAtOnce = 64;

function dataError(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_DATA", message);
}

/** Folders in `folder`, sorted by their names' bytes, as every tool numbers ImageNet's classes. */
async function subfolders(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error) => {
    throw dataError(
      `cannot read the folder ${folder} (${(error as Error).message}); expected train/CLASS/ and ` +
        "val/CLASS/ with images in them",
    );
  });
  const names: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    if (entry.isDirectory()) names.push(entry.name);
    else if (entry.isSymbolicLink()) {
      const target = await stat(join(folder, entry.name)).catch(() => undefined);
      if (target?.isDirectory()) names.push(entry.name);
    }
  }
  return names.sort(byBytes);
}

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Runs `work` for each item, some at a time, in order of the items. */
async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  const run = async () => {
    for (let i = next++; i < items.length; i = next++) results[i] = await work(items[i]!);
  };
  await Promise.all(Array.from({ length: statsAtOnce }, run));
  return results;
}

/** Lines `bytes TAB label TAB path` of the images in a class's folder. */
async function listClass(folder: string, name: string, label: number): Promise<string[]> {
  const files = (await readdir(join(folder, name))).filter(isPicture).sort(byBytes);
  const lines = await inParallel(files, async (file) => {
    const found = await stat(join(folder, name, file));
    return found.isFile() ? `${found.size}\t${label}\t${name}/${file}` : "";
  });
  return lines.filter((line) => line !== "");
}

async function list(
  folder: string,
  { classes }: Header,
  flat: FlatLabels | undefined,
  needsAll: boolean,
  progress: Progress,
): Promise<string[]> {
  const lines: string[] = [];
  if (flat) {
    const found = await inParallel([...flat.labels], async ([file, label]) => {
      const { size } = await stat(join(folder, file));
      return `${size}\t${label}\t${file}`;
    });
    return found;
  }
  const folders = await subfolders(folder);
  for (const [done, name] of folders.entries()) {
    const found = await listClass(folder, name, classes.indexOf(name));
    if (found.length === 0 && needsAll) {
      throw dataError(
        `the class folder ${join(folder, name)} holds no image; expected .jpg, .jpeg, .png, .webp ` +
          "or .gif files. Fill it, or remove it (classes are numbered by the folders that are there)",
      );
    }
    lines.push(...found);
    progress(lines.length, done + 1, folders.length);
  }
  return lines;
}

function parse(header: Header, lines: readonly string[]): IndexedPart {
  const paths: string[] = [];
  const labels = new Int32Array(lines.length);
  for (const [i, line] of lines.entries()) {
    const [, label, path] = line.split("\t");
    labels[i] = Number(label);
    paths.push(`${path}\n`);
  }
  const digest = createHash("sha256").update(JSON.stringify(header.classes));
  for (const line of lines) digest.update(`${line}\n`);
  return {
    classes: header.classes,
    files: new FileList(Buffer.from(paths.join("")), labels),
    digest: digest.digest("hex"),
  };
}

/** The lines of an index file, if it is about the same folder in the same state. */
async function readIndex(file: string, expected: Omit<Header, "images">) {
  const text = await readFile(file, "utf8").catch(() => undefined);
  const [first, ...lines] = text?.split("\n") ?? [];
  if (!first || lines.pop() !== "") return undefined;
  try {
    const { images, ...header } = JSON.parse(first) as Header;
    const isSame = JSON.stringify(header) === JSON.stringify(expected) && images === lines.length;
    return isSame ? lines : undefined;
  } catch {
    return undefined;
  }
}

async function writeIndex(file: string, header: Header, lines: readonly string[]): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(
    temporary,
    `${JSON.stringify(header)}\n${lines.map((line) => `${line}\n`).join("")}`,
  );
  await rename(temporary, file);
}

/**
 * The images of `folder`, in class folders or, for ILSVRC's validation images, flat with a file of
 * labels beside them. `classes` are those of the training images, among which the labels of the
 * others are found; without them the folder's own. The list is kept in `cache`, and made anew when a
 * folder's modification time has changed. Throws ERR_ONEHOUR_DATA.
 */
export async function indexPart(
  folder: string,
  cache: string,
  progress: Progress,
  classes?: readonly string[],
): Promise<IndexedPart> {
  if (!existsSync(folder)) {
    throw dataError(
      `there is no folder ${folder}; expected train/CLASS/ and val/CLASS/ with images in them`,
    );
  }
  const found = await subfolders(folder);
  const flat = found.length === 0 && classes ? await readFlatLabels(folder, classes) : undefined;
  if (found.length === 0 && !flat) {
    throw dataError(`${folder} holds no class folder; expected one a class, with images in it`);
  }
  const foreign = found.find((name) => classes && !classes.includes(name));
  if (foreign !== undefined) {
    throw dataError(
      `${folder} has a class "${foreign}" that the training images have not (${classes!.length} ` +
        `classes, such as ${classes![0]}); expected the same classes in both. Remove it, or train on it`,
    );
  }
  const watched = flat ? [folder, flat.file] : [folder, ...found.map((name) => join(folder, name))];
  const expected = {
    version: 1 as const,
    folder,
    classes: [...(classes ?? found)],
    times: (await inParallel(watched, (path) => stat(path))).map(({ mtimeMs }) => mtimeMs),
  };
  const name = createHash("sha256").update(folder).digest("hex").slice(0, 16);
  const file = join(cache, `${name}.index`);
  const known = await readIndex(file, expected);
  if (known) return parse({ ...expected, images: known.length }, known);
  const header = { ...expected, images: 0 };
  const lines = await list(folder, header, flat, classes === undefined, progress);
  if (lines.length === 0)
    throw dataError(`${folder} holds no image; expected some in its class folders`);
  header.images = lines.length;
  // A cache that cannot be written costs the next run this work, and nothing else.
  await mkdir(cache, { recursive: true })
    .then(() => writeIndex(file, header, lines))
    .catch(() => {});
  return parse(header, lines);
}
