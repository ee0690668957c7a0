// Keeps the index of a folder's images between runs: a header that tells what it was made of, and lines.

import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Lines } from "./lines.js";

/** What an index was made of; another one is made where anything differs. */
export interface IndexHeader {
  version: 1;
  folder: string;
}

export interface Index {
  lines: Lines;
  /** SHA-256 of the lines, in hexadecimal. */
  digest: string;
}

const indexOf = (body: Buffer): Index => ({
  lines: new Lines(body),
  digest: createHash("sha256").update(body).digest("hex"),
});

/** The index in a file, if it is whole and was made of the same. */
async function readIndex(file: string, expected: IndexHeader): Promise<Index | undefined> {
  const bytes = await readFile(file).catch(() => undefined);
  if (bytes?.at(-1) !== 0x0a) return undefined;
  const end = bytes.indexOf(0x0a);
  try {
    const { images, ...header } = JSON.parse(bytes.toString("utf8", 0, end));
    if (JSON.stringify(header) !== JSON.stringify(expected)) return undefined;
    const index = indexOf(bytes.subarray(end + 1));
    return images === index.lines.length ? index : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The index of `header.folder`: the one that is kept in the folder `cache`, if it was made of the same
 * `header`, or else the lines that `list` makes, UTF-8 with a line feed behind each, which are kept.
 */
export async function cachedIndex(
  cache: string,
  header: IndexHeader,
  list: () => Promise<Buffer>,
): Promise<Index> {
  const name = createHash("sha256").update(header.folder).digest("hex").slice(0, 16);
  const file = join(cache, `${name}.index`);
  const known = await readIndex(file, header);
  if (known) return known;
  const body = await list();
  const index = indexOf(body);
  const first = `${JSON.stringify({ ...header, images: index.lines.length })}\n`;
  const temporary = `${file}.${process.pid}.tmp`;
  // A cache that cannot be written costs the next run this work, and nothing else.
  await mkdir(cache, { recursive: true })
    .then(() => writeFile(temporary, [first, body]))
    .then(() => rename(temporary, file))
    .catch(() => {});
  return index;
}
