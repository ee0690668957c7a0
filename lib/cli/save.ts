// Writes a file that a flag names.
import { lstat, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { OnehourError } from "../errors.js";
import { writeAtomically } from "../run-folder/files.js";

/**
 * Writes a file as a whole in the place of an earlier one; a link or a device stays what it is. Throws
 * ERR_ONEHOUR_OUTPUT where the system refuses, which names the flag.
 */
export async function save(file: string, text: string, flag: string): Promise<void> {
  try {
    const there = await lstat(file).catch(() => undefined);
    if (there && !there.isFile()) await writeFile(file, text);
    else await writeAtomically(dirname(file), basename(file), [Buffer.from(text)]);
  } catch (error) {
    throw new OnehourError(
      "ERR_ONEHOUR_OUTPUT",
      `cannot write ${file} (${(error as Error).message}); name another file with ${flag}`,
    );
  }
}
