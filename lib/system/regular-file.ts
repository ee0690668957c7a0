// Reads files that the user or a file names, only regular ones: a pipe may never end, and some devices
// never do.
import { readFileSync, type Stats, statSync } from "node:fs";
import { type FileHandle, open, readFile, stat } from "node:fs/promises";

const others: readonly [words: string, is: (stats: Stats) => boolean][] = [
  ["a folder", (stats) => stats.isDirectory()],
  ["a named pipe", (stats) => stats.isFIFO()],
  ["a socket", (stats) => stats.isSocket()],
];

/** The system's figures on a regular file, links followed; throws where there is nothing, or something else. */
export async function requireRegular(path: string): Promise<Stats> {
  return regular(await stat(path));
}

function regular(stats: Stats): Stats {
  if (stats.isFile()) return stats;
  const [kind] = others.find(([, is]) => is(stats)) ?? ["a device"];
  throw new Error(`it is ${kind}, not a file`);
}

/** All bytes of a regular file that is small, at once. */
export function readSmall(path: string): Buffer {
  regular(statSync(path));
  return readFileSync(path);
}

/** All bytes of a regular file; throws where they are more than `most`. */
export async function readRegular(path: string, most = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const { size } = await requireRegular(path);
  if (size > most) throw new Error(`it has ${size} bytes, expected at most ${most}`);
  return await readFile(path);
}

const mostTextBytes = 256 << 20; // half of what a string can hold

/** The text of a regular file, in UTF-8; throws where it is longer than any that is meant. */
export async function readText(path: string): Promise<string> {
  return (await readRegular(path, mostTextBytes)).toString();
}

/** Opens a regular file to be read. */
export async function openRegular(path: string): Promise<FileHandle> {
  await requireRegular(path);
  return await open(path);
}
