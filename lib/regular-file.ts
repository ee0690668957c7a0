// Files that are named by others are read only where they are regular: a pipe may never end, and some
// devices never do.
import type { Stats } from "node:fs";
import { type FileHandle, open, readFile, stat } from "node:fs/promises";

const others: readonly [words: string, is: (stats: Stats) => boolean][] = [
  ["a folder", (stats) => stats.isDirectory()],
  ["a named pipe", (stats) => stats.isFIFO()],
  ["a socket", (stats) => stats.isSocket()],
];

/** Throws unless a regular file is at a path, links followed: the system's error where nothing is. */
export async function requireRegular(path: string): Promise<void> {
  const stats = await stat(path);
  if (stats.isFile()) return;
  const [kind] = others.find(([, is]) => is(stats)) ?? ["a device"];
  throw new Error(`it is ${kind}, not a file`);
}

/** All bytes of a regular file. */
export async function readRegular(path: string): Promise<Buffer> {
  await requireRegular(path);
  return await readFile(path);
}

/** Opens a regular file to be read. */
export async function openRegular(path: string): Promise<FileHandle> {
  await requireRegular(path);
  return await open(path);
}
