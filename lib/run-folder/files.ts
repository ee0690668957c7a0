// Replaces files of a run folder as a whole, on the disk too, and gives them a second name.

import { constants, statSync } from "node:fs";
import { copyFile, link, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { native } from "../device/native.js";
import { OnehourError } from "../errors.js";
import { nameOf } from "../recipe/voice.js";

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY);
  await handle.sync().finally(() => handle.close());
  native.advanceProgress();
}

/** Whether an error of the file system means that there is no space left. */
export function isDiskFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** An error for a run folder that cannot be written to, with what helps against its cause. */
export function unwritable(folder: string, error: unknown): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_RUN_FOLDER",
    `cannot write to the run folder ${folder} (${(error as Error).message}); ` +
      `${isDiskFull(error) ? "free some space there, or" : ""} name another with ${nameOf("out")}`.trimStart(),
  );
}

/** Whether a file is there; throws for a folder that may not be read. */
export function isThere(file: string): boolean {
  try {
    statSync(file);
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw new OnehourError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `cannot read the run folder ${dirname(file)} (${message}); make it readable for this user, or ` +
        `name another with ${nameOf("out")}`,
    );
  }
}

/** Where a file is written before it takes its name. */
const temporaryOf = (folder: string, name: string) => join(folder, `${name}.tmp`);

/** Removes what a crash left of a file that was being written. Nobody else may be writing there. */
export async function removeTemporary(folder: string, name: string): Promise<void> {
  await rm(temporaryOf(folder, name), { force: true }).catch(() => {}); // writing the file will fail, and say so
}

const pieceBytes = 1 << 20;

/** The same content in pieces that are large enough to be written one by one. */
export function* joined(parts: Iterable<string | Uint8Array>): Generator<Uint8Array> {
  let gathered: Uint8Array[] = [];
  let bytes = 0;
  for (const part of parts) {
    const piece = typeof part === "string" ? Buffer.from(part) : part;
    gathered.push(piece);
    bytes += piece.length;
    if (bytes < pieceBytes) continue;
    yield Buffer.concat(gathered);
    gathered = [];
    bytes = 0;
  }
  yield Buffer.concat(gathered);
}

/**
 * Writes a file and its folder's entry to the disk: all of it, or what was there before. Each piece and each sync
 * counts as progress, so that a run on a slow disk does not count as one that hangs.
 */
export async function writeAtomically(
  folder: string,
  name: string,
  pieces: Iterable<Uint8Array>,
  beforeRename: () => Promise<void> = async () => {},
): Promise<void> {
  const temporary = temporaryOf(folder, name);
  try {
    const handle = await open(temporary, "w");
    try {
      for (const piece of pieces) {
        await handle.writeFile(piece);
        native.advanceProgress();
      }
      await handle.sync();
      native.advanceProgress();
    } finally {
      await handle.close();
    }
    await beforeRename();
    await rename(temporary, join(folder, name));
    await syncFolder(folder);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}); // the first error says more
    throw error;
  }
}

/** Moves a file from one folder to another, in the place of what is there, on the disk too. */
export async function moveFile(from: string, to: string, name: string): Promise<void> {
  await rename(join(from, name), join(to, name));
  await syncFolder(to);
}

/** As `writeAtomically`, with ERR_ONEHOUR_RUN_FOLDER for what the system refuses. */
export async function replaceFile(
  folder: string,
  name: string,
  content: string | Iterable<string | Uint8Array>,
): Promise<void> {
  try {
    await writeAtomically(folder, name, joined(typeof content === "string" ? [content] : content));
  } catch (error) {
    throw unwritable(folder, error);
  }
}

/**
 * Gives a file of the folder a second name, under which another may lie already. Files are replaced
 * here but never written to, so that both names may be of one.
 */
export async function keepAs(folder: string, name: string, other: string): Promise<void> {
  const [file, kept] = [join(folder, name), temporaryOf(folder, other)];
  await rm(kept, { force: true });
  try {
    await link(file, kept).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") throw error;
      await copyFile(file, kept); // a file system without hard links
    });
    await rename(kept, join(folder, other));
  } finally {
    // Where the other name is of the same file already, renaming leaves both (POSIX).
    await rm(kept, { force: true });
  }
}
