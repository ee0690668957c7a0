// The list of a folder's images: which files there are, in which class, and of what size.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { OnehourError } from "../errors.js";
import { type FlatLabels, isPicture, readFlatLabels } from "./flat-validation.js";
import { inParallel } from "./in-parallel.js";
import { cachedIndex, type IndexHeader } from "./index-cache.js";
import type { Lines } from "./lines.js";
import type { PictureList, PictureSources } from "./picture-list.js";

/** Files of the training or the validation part. */
export class FileList implements PictureList {
  readonly labels: Int32Array;

  /** Lines `bytes TAB label TAB path`, the path being relative to `folder`. */
  constructor(
    private readonly folder: string,
    private readonly lines: Lines,
  ) {
    this.labels = Int32Array.from({ length: lines.length }, (_, i) => Number(lines.fields(i)[1]));
  }

  name(index: number): string {
    return join(this.folder, this.lines.fields(index)[2]!);
  }

  sources(indices: Uint32Array): PictureSources {
    return { files: Array.from(indices, (index) => this.name(index)) };
  }
}

/** A part of a folder: its files, and what tells whether it has changed since. */
export interface IndexedPart {
  classes: string[];
  files: FileList;
  /** SHA-256 of classes, paths and sizes in bytes. */
  digest: string;
}

interface Header extends IndexHeader {
  classes: string[];
  /** Modification times in ms: of the part's folder, of each class's, or of the file with labels. */
  times: number[];
}

/** Told how many files of how many classes have been listed. */
export type Progress = (files: number, done: number, classes: number) => void;

function dataError(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_DATA", message);
}

/** Folders in `folder`, sorted by their names' bytes, as every tool numbers ImageNet's classes. */
export async function subfolders(folder: string): Promise<string[]> {
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
      const target = await named(join(folder, entry.name), (path) => stat(path));
      if (target.isDirectory()) names.push(entry.name);
    }
  }
  return names.sort(byBytes);
}

export const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** What `read` tells of a path, whose name must fit into a line of the index. */
async function named<T>(path: string, read: (path: string) => Promise<T>): Promise<T> {
  if (/[\t\n\ufffd]/.test(path)) {
    throw dataError(
      `the name ${JSON.stringify(path)} holds a tab, a line feed or bytes that are no UTF-8; rename it`,
    );
  }
  try {
    return await read(path);
  } catch (error) {
    throw dataError(
      `cannot read ${path} (${(error as Error).message}); expected an image or a folder of images ` +
        "that this user may read. Make it so, or remove it",
    );
  }
}

/** Lines `bytes TAB label TAB path` of the images in a class's folder. */
async function listClass(folder: string, name: string, label: number): Promise<string[]> {
  const files = (await named(join(folder, name), (path) => readdir(path)))
    .filter(isPicture)
    .sort(byBytes);
  const lines = await inParallel(files, async (file) => {
    const found = await named(join(folder, name, file), (path) => stat(path));
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
      const { size } = await named(join(folder, file), (path) => stat(path));
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
  const header: Header = {
    version: 1,
    folder,
    classes: [...(classes ?? found)],
    times: (await inParallel(watched, (path) => named(path, (path) => stat(path)))).map(
      ({ mtimeMs }) => mtimeMs,
    ),
  };
  const { lines, digest } = await cachedIndex(cache, header, async () => {
    const listed = await list(folder, header, flat, classes === undefined, progress);
    if (listed.length === 0) {
      throw dataError(`${folder} holds no image; expected some in its class folders`);
    }
    return Buffer.from(listed.map((line) => `${line}\n`).join(""));
  });
  return {
    classes: header.classes,
    files: new FileList(folder, lines),
    digest: createHash("sha256")
      .update(JSON.stringify(header.classes))
      .update(digest)
      .digest("hex"),
  };
}
