// Finds the images below a folder, and reports what it leaves out.

import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { OnehourError } from "../../errors.js";

const endings = ["jpg", "jpeg", "jpe", "jfif", "png", "ppm", "bmp", "pgm", "tif", "tiff"];
const allEndings = [...endings, "webp", "gif"];
const imageName = new RegExp(`\\.(${allEndings.join("|")})$`, "i");

/** `.jpg, .jpeg, …`, for messages. */
export const imageEndings = allEndings.map((ending) => `.${ending}`).join(", ");

const isHidden = (name: string) => name.startsWith(".");

/** Whether a file's name is that of an image. */
export const isImage = (name: string) => !isHidden(name) && imageName.test(name);

export const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Why something is left out, in the words of a message. */
const reasons = {
  otherName: `whose names do not end in ${imageEndings}`,
  hidden: "whose names begin with a dot",
  outside: "outside of class folders",
  again: "that lead to a folder listed already",
  noFile: "that are neither files nor folders",
  absent: "that have a label and are not there",
} as const;

/** What was left out of a folder: how many for each reason, and an example. */
export type LeftOut = Partial<Record<keyof typeof reasons, [count: number, example: string]>>;

export function leaveOut(into: LeftOut, reason: keyof typeof reasons, example: string): void {
  const [count, first] = into[reason] ?? [0, example];
  into[reason] = [count + 1, first];
}

/** `left out of FOLDER: 2 whose names …, such as …`; undefined where nothing was. */
export function describeLeftOut(folder: string, leftOut: LeftOut): string | undefined {
  const parts = Object.entries(leftOut).map(
    ([reason, [count, example]]) =>
      `${count.toLocaleString("en-US")} ${reasons[reason as keyof typeof reasons]}, such as ${example}`,
  );
  return parts.length > 0 ? `left out of ${folder}: ${parts.join("; ")}` : undefined;
}

/** Reads a path, whose name must fit into a line of an index. Throws ERR_ONEHOUR_DATA, naming the path. */
export async function named<T>(path: string, read: (path: string) => Promise<T>): Promise<T> {
  if (/[\t\n\ufffd]/.test(path)) {
    throw new OnehourError(
      "ERR_ONEHOUR_DATA",
      `the name ${JSON.stringify(path)} holds a tab, a line feed or bytes that are not UTF-8; rename it`,
    );
  }
  try {
    return await read(path);
  } catch (error) {
    throw new OnehourError(
      "ERR_ONEHOUR_DATA",
      `cannot read ${path} (${(error as Error).message}); expected an image or a folder of images ` +
        "that this user may read. Make it so, or remove it",
    );
  }
}

/** A folder or file, and when it and its entry were last changed, in ms. */
export type Seen = [path: string, modified: number, changed: number];

export async function see(path: string): Promise<Seen> {
  const { mtimeMs, ctimeMs } = await named(path, (each) => stat(each));
  return [path, mtimeMs, ctimeMs];
}

/** What lies below a folder. */
interface Found {
  /** Images, by their paths below `root`: those of a folder by name, folders by path. */
  files: string[];
  folders: Seen[];
}

/**
 * The images in the folder `start` below `root` and in all folders in it, links followed. A folder that
 * is reached again, as by a link to one that holds it, is left out there; `leftOut` counts that and what
 * else is not an image. Throws ERR_ONEHOUR_DATA.
 */
export async function findImages(root: string, start: string, leftOut: LeftOut): Promise<Found> {
  const found: Found = { files: [], folders: [] };
  const known = new Set<string>();
  const pending = [start];
  for (let folder = pending.shift(); folder !== undefined; folder = pending.shift()) {
    const path = join(root, folder);
    // Its times are taken first, so that what comes while it is read is seen the next time.
    const { dev, ino, mtimeMs, ctimeMs } = await named(path, (each) => stat(each));
    const identity = `${dev}:${ino}`;
    if (known.has(identity)) {
      leaveOut(leftOut, "again", folder);
      continue;
    }
    known.add(identity);
    found.folders.push([folder, mtimeMs, ctimeMs]);
    const entries = await named(path, (each) => readdir(each, { withFileTypes: true }));
    entries.sort((a, b) => byBytes(a.name, b.name));
    const inner: string[] = [];
    for (const entry of entries) {
      const place = `${folder}/${entry.name}`;
      if (isHidden(entry.name)) leaveOut(leftOut, "hidden", place);
      else if (await isFolder(join(root, place), entry)) inner.push(place);
      else if (isImage(entry.name)) found.files.push(place);
      else leaveOut(leftOut, "otherName", place);
    }
    pending.unshift(...inner);
  }
  return found;
}

interface Entry {
  name: string;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** Whether an entry is a folder, or a link to one. A link to nothing matters only if its name is an image's. */
export async function isFolder(path: string, entry: Entry): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  const reached = stat(path).then((target) => target.isDirectory());
  return isImage(basename(path))
    ? await named(path, () => reached)
    : await reached.catch(() => false);
}
