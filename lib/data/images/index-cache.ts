// Keeps the index of a folder's images between runs: a header that says what it was made from, and lines.

import { createHash } from "node:crypto";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readRegular } from "../../system/regular-file.js";
import { Lines } from "./lines.js";

const version = 2;

/** What an index is asked for; another one is made where anything differs. */
export interface IndexHeader {
  folder: string;
}

/** The lines of a listing, and what is kept with them as JSON. */
interface Listing<Found> {
  /** UTF-8, each ending in a line feed. */
  lines: Buffer;
  found: Found;
}

interface Index<Found> {
  lines: Lines;
  found: Found;
  /** SHA-256 of the lines, in hexadecimal. */
  digest: string;
}

/** How an index is made, and checked to be up to date. */
interface IndexSource<Header extends IndexHeader, Found> {
  /** Where indexes are kept. */
  cache: string;
  header: Header;
  /** Whether what was found is still there, where the header alone cannot decide that. */
  isCurrent?(found: Found): Promise<boolean>;
  list(): Promise<Listing<Found>>;
  /** Called when a damaged index was made anew. */
  warn(text: string): void;
}

const sha256 = (bytes: Buffer | string) => createHash("sha256").update(bytes).digest("hex");

/** The header's line: all that it holds, and a digest of that; the lines' own digest is part of it. */
function seal(content: object): string {
  const digest = sha256(JSON.stringify(content));
  return `${JSON.stringify({ ...content, digest })}\n`;
}

type Known<Found> = Index<Found> | "missing" | "outdated" | { problem: string };

const damaged = { problem: "was damaged" };

/** The index in a file, if it is whole and was made of the same. */
async function readIndex<Header extends IndexHeader, Found>(
  file: string,
  { header, isCurrent }: IndexSource<Header, Found>,
): Promise<Known<Found>> {
  let bytes: Buffer;
  try {
    bytes = await readRegular(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? "missing" : { problem: `cannot be read (${message})` };
  }
  const end = bytes.indexOf(0x0a) + 1;
  const body = bytes.subarray(end);
  let content: { version: number; header: Header; found: Found; lines: string };
  try {
    content = JSON.parse(bytes.toString("utf8", 0, end));
    // Files of other versions are sealed in another way, or not at all.
    if (Number.isInteger(content.version) && content.version !== version) return "outdated";
    const { version: own, header: made, found, lines } = content;
    const sealed = seal({ version: own, header: made, found, lines });
    if (sealed !== bytes.toString("utf8", 0, end) || sha256(body) !== lines) return damaged;
  } catch {
    return damaged;
  }
  if (JSON.stringify(content.header) !== JSON.stringify(header)) return "outdated";
  if (isCurrent && !(await isCurrent(content.found))) return "outdated";
  return { lines: new Lines(body), found: content.found, digest: content.lines };
}

/**
 * The index of `header.folder`: the one that is kept, if it is whole, was made of the same and is
 * current, or else what `list` makes, which is kept.
 */
export async function cachedIndex<Header extends IndexHeader, Found>(
  source: IndexSource<Header, Found>,
): Promise<Index<Found>> {
  const { cache, header } = source;
  const file = join(cache, `${sha256(header.folder).slice(0, 16)}.index`);
  const known = await readIndex(file, source);
  if (typeof known === "object" && "lines" in known) return known;
  const { lines, found } = await source.list();
  const digest = sha256(lines);
  const temporary = `${file}.${process.pid}.tmp`;
  // A cache that cannot be written costs the next run this work, and nothing else.
  await mkdir(cache, { recursive: true })
    .then(() => writeFile(temporary, [seal({ version, header, found, lines: digest }), lines]))
    .then(() => rename(temporary, file))
    .catch(() => {});
  if (typeof known === "object") {
    const list = `${file}, the list of images in ${header.folder},`;
    source.warn(`${list} ${known.problem} and is made anew`);
  }
  return { lines: new Lines(lines), found, digest };
}
