// Writes the logs of runs as TensorBoard's event files, a subfolder a run.

import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { OnehourError } from "../../errors.js";
import { isThere } from "../../run-folder/files.js";
import { logName } from "../../run-folder/log.js";
import { readRuns } from "../run-data.js";
import { writeEvents } from "./event-files.js";

/** The names of runs as names of files, each of which is there once. */
export function fileNames(names: readonly string[]): string[] {
  const taken = new Set<string>();
  return names.map((name) => {
    const safe = name.replaceAll("/", "-").replaceAll(/[^\p{L}\p{N}._+=,@-]/gu, "_");
    const file = safe.replace(/^\.+/, "") || "run";
    let unique = file;
    for (let i = 2; taken.has(unique); i++) unique = `${file}-${i}`;
    taken.add(unique);
    return unique;
  });
}

/** When the last line of a run's log was written, in ms since 1970. */
async function lastWritten(folder: string): Promise<number> {
  const log = join(folder, logName);
  return isThere(log) ? (await stat(log)).mtimeMs : Date.now();
}

/**
 * Writes each run's events into a subfolder of `target`, in the place of what an earlier call wrote there.
 * Returns the subfolders, in the order of the runs; a run that is named twice counts once. Throws
 * ERR_ONEHOUR_RUN_FOLDER for a folder that holds no run or cannot be read, before anything is written, and
 * ERR_ONEHOUR_OUTPUT where it cannot be written.
 */
export async function exportEvents(folders: readonly string[], target: string): Promise<string[]> {
  const runs = await readRuns(folders);
  const ends = await Promise.all(runs.map(({ folder }) => lastWritten(folder)));
  const written = fileNames(runs.map(({ name }) => name)).map((name) => join(target, name));
  for (const [i, folder] of written.entries()) {
    await writeEvents(resolve(folder), { ...runs[i]!, end: ends[i]! }).catch((error: Error) => {
      throw new OnehourError(
        "ERR_ONEHOUR_OUTPUT",
        `cannot write to ${folder} (${error.message}); free some space there, or name another folder`,
      );
    });
  }
  return written;
}
