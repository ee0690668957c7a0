// The list of a folder's images: which files there are, in which class, and of what size.

import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { inParallel } from "../../arrays/in-parallel.js";
import { OnehourError } from "../../errors.js";
import { exists } from "../../system/exists.js";
import { type FlatLabels, readFlatLabels } from "./flat-validation.js";
import {
  byBytes,
  describeLeftOut,
  findImages,
  imageEndings,
  isFolder,
  isImage,
  type LeftOut,
  leaveOut,
  named,
  type Seen,
  see,
} from "./image-files.js";
import type { ImageList, ImageSources } from "./image-list.js";
import { cachedIndex, type IndexHeader } from "./index-cache.js";
import type { Lines } from "./lines.js";

/** Files of the training or the validation part. */
class FileList implements ImageList {
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

  sources(indices: Uint32Array): ImageSources {
    return { files: Array.from(indices, (index) => this.name(index)) };
  }
}

/** A part of a folder: its files, and a digest that changes when they do. */
interface IndexedPart {
  classes: string[];
  files: FileList;
  /** SHA-256 of classes, paths and sizes in bytes. */
  digest: string;
  /** What is not used of the folder, in words. */
  notes: string[];
}

interface Header extends IndexHeader {
  classes: string[];
  /** SHA-256 of the labels, where a file holds them. */
  labels?: string;
}

interface Found {
  /** Folders by their paths. */
  seen: Seen[];
  leftOut: LeftOut;
}

/** Called with how many files of how many classes have been listed. */
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

/** Lines `bytes TAB label TAB path` of images, whose paths are below `root`. */
async function linesOf(root: string, files: readonly string[], label: number, leftOut: LeftOut) {
  const lines = await inParallel(files, async (file) => {
    const found = await named(join(root, file), (path) => stat(path));
    if (found.isFile()) return `${found.size}\t${label}\t${file}`;
    leaveOut(leftOut, "noFile", file);
    return "";
  });
  return lines.filter((line) => line !== "");
}

interface Listed {
  lines: string[];
  found: Found;
}

const labelsDigest = ({ labels, absent }: FlatLabels) =>
  createHash("sha256")
    .update(JSON.stringify([[...labels], absent]))
    .digest("hex");

async function listFlat(folder: string, flat: FlatLabels): Promise<Listed> {
  const { labels, absent, source } = flat;
  const leftOut: LeftOut = {};
  for (const name of absent) leaveOut(leftOut, "absent", name);
  const seen = await inParallel([folder, source.folder], see);
  const names = await readdir(source.folder);
  for (const name of names.filter((each) => !isImage(each) && each !== basename(source.file))) {
    leaveOut(leftOut, name.startsWith(".") ? "hidden" : "otherName", name);
  }
  const lines = await inParallel([...labels], async ([file, label]) =>
    linesOf(folder, [file], label, leftOut),
  );
  return { lines: lines.flat(), found: { seen, leftOut } };
}

/** Counts images next to the class folders; other files there, such as lists, are not mentioned. */
async function leaveOutside(folder: string, leftOut: LeftOut): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith(".")) leaveOut(leftOut, "hidden", entry.name);
    else if (isImage(entry.name) && !(await isFolder(join(folder, entry.name), entry))) {
      leaveOut(leftOut, "outside", entry.name);
    }
  }
}

async function listClasses(
  folder: string,
  classes: readonly string[],
  needsAll: boolean,
  progress: Progress,
): Promise<Listed> {
  const lines: string[] = [];
  const leftOut: LeftOut = {};
  const seen = [await see(folder)];
  await leaveOutside(folder, leftOut);
  const names = await subfolders(folder);
  for (const [done, name] of names.entries()) {
    const { files, folders } = await findImages(folder, name, leftOut);
    const listed = await linesOf(folder, files, classes.indexOf(name), leftOut);
    if (listed.length === 0 && needsAll) {
      throw dataError(
        `the class folder ${join(folder, name)} holds no image; expected ${imageEndings} files, in it ` +
          "or in folders in it. Fill it, or remove it (classes are numbered by the folders that are there)",
      );
    }
    lines.push(...listed);
    seen.push(...folders.map(([path, ...times]): Seen => [join(folder, path), ...times]));
    progress(lines.length, done + 1, names.length);
  }
  return { lines, found: { seen, leftOut } };
}

/** Whether folders are as they were seen. */
async function isCurrent({ seen }: Found): Promise<boolean> {
  const changed = await inParallel(seen, async ([path, ...times]) => {
    const found = await stat(path).catch(() => undefined);
    return found?.mtimeMs !== times[0] || found?.ctimeMs !== times[1];
  });
  return !changed.includes(true);
}

/** Whether validation images lie in one folder, as Tiny ImageNet's do; a file then holds their classes. */
const isFlat = (found: readonly string[], classes: readonly string[]) =>
  found.length === 0 ||
  (found.length === 1 && found[0] === "images" && !classes.includes("images"));

/**
 * The images of `folder`, in class folders and folders in these or, for validation images, flat with a
 * file of labels next to them (`readFlatLabels`). `classes` are those of the training images, among
 * which the labels of the others are found; without them the folder's own. The list is kept in `cache`, and
 * made anew when a folder has changed or the list itself is damaged, which `warn` is called with.
 * Throws ERR_ONEHOUR_DATA.
 */
export async function indexPart(
  folder: string,
  cache: string,
  progress: Progress,
  warn: (text: string) => void,
  classes?: readonly string[],
): Promise<IndexedPart> {
  if (!exists(folder)) {
    throw dataError(
      `there is no folder ${folder}; expected train/CLASS/ and val/CLASS/ with images in them`,
    );
  }
  const found = await subfolders(folder);
  const flat =
    classes && isFlat(found, classes) ? await readFlatLabels(folder, classes) : undefined;
  if (found.length === 0 && !flat) {
    throw dataError(`${folder} holds no class folder; expected one a class, with images in it`);
  }
  const foreign = flat ? undefined : found.find((name) => classes && !classes.includes(name));
  if (foreign !== undefined) {
    throw dataError(
      `${folder} has a class "${foreign}" that the training images lack (${classes!.length} ` +
        `classes, such as ${classes![0]}); expected the same classes in both. Remove it, or train on it`,
    );
  }
  const header: Header = {
    folder,
    classes: [...(classes ?? found)],
    ...(flat ? { labels: labelsDigest(flat) } : {}),
  };
  const index = await cachedIndex({
    cache,
    header,
    isCurrent,
    warn,
    list: async () => {
      const listed = flat
        ? await listFlat(folder, flat)
        : await listClasses(folder, header.classes, classes === undefined, progress);
      if (listed.lines.length === 0) {
        throw dataError(`${folder} holds no image; expected some in its class folders`);
      }
      const lines = Buffer.from(listed.lines.map((line) => `${line}\n`).join(""));
      return { lines, found: listed.found };
    },
  });
  const leftOut = describeLeftOut(folder, index.found.leftOut);
  return {
    classes: header.classes,
    files: new FileList(folder, index.lines),
    digest: createHash("sha256")
      .update(JSON.stringify(header.classes))
      .update(index.digest)
      .digest("hex"),
    notes: leftOut === undefined ? [] : [leftOut],
  };
}
