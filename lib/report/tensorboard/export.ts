// Writes the logs of runs as TensorBoard's event files, a subfolder a run.

import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { OnehourError, UsageError } from "../../errors.js";
import { readFields } from "../../recipe/fields.js";
import { readRecipeText, recipeName } from "../../recipe/run-recipe.js";
import { isThere } from "../../run-folder/files.js";
import { logName, readLog } from "../../run-folder/log.js";
import { type LoggedRun, writeEvents } from "./event-files.js";

/**
 * Names for folders that nobody else has and that a file may have: the last part of each path, and where
 * several end alike, the parts before it too.
 */
export function namesOf(folders: readonly string[]): string[] {
  const paths = folders.map((folder) => folder.split("/").filter(Boolean));
  const tail = (path: readonly string[], length: number) => path.slice(-length).join("/");
  const taken = new Set<string>();
  return paths.map((path) => {
    let length = 1;
    const isShared = () =>
      paths.filter((other) => tail(other, length) === tail(path, length)).length > 1;
    while (length < path.length && isShared()) length++;
    const safe = tail(path, length)
      .replaceAll("/", "-")
      .replaceAll(/[^\p{L}\p{N}._+=,@-]/gu, "_");
    const name = safe.replace(/^\.+/, "") || "run";
    let unique = name;
    for (let i = 2; taken.has(unique); i++) unique = `${name}-${i}`;
    taken.add(unique);
    return unique;
  });
}

async function readRun(folder: string): Promise<LoggedRun> {
  if (!isThere(join(folder, recipeName)))
    throw new UsageError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `${folder} holds no run (looked for ${recipeName}); name the folder of a run, such as runs/NAME`,
    );
  const text = await readRecipeText(folder);
  const log = join(folder, logName);
  const { lines } = await readLog(folder);
  const end = isThere(log) ? (await stat(log)).mtimeMs : Date.now();
  try {
    const {
      workers = 1,
      accumulate = 1,
      batch = 1,
      ...fields
    } = readFields(JSON.parse(text), "fields");
    return { recipe: { ...fields, workers, accumulate, batch }, lines, end };
  } catch (error) {
    const { message } = error as Error;
    throw new OnehourError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `${join(folder, recipeName)} is not a recipe (${message}); expected the one that the run wrote`,
    );
  }
}

/**
 * Writes each run's events into a subfolder of `target`, in the place of what an earlier call wrote there.
 * Returns the subfolders, in the order of the runs; a run that is named twice counts once. Throws
 * ERR_ONEHOUR_RUN_FOLDER for a folder that holds no run or cannot be read, before anything is written, and
 * ERR_ONEHOUR_OUTPUT where it cannot be written.
 */
export async function exportEvents(runs: readonly string[], target: string): Promise<string[]> {
  const folders = [...new Set(runs.map((run) => resolve(run)))];
  const read: LoggedRun[] = [];
  for (const folder of folders) read.push(await readRun(folder));
  const written = namesOf(folders).map((name) => join(target, name));
  for (const [i, folder] of written.entries()) {
    await writeEvents(resolve(folder), read[i]!).catch((error: Error) => {
      throw new OnehourError(
        "ERR_ONEHOUR_OUTPUT",
        `cannot write to ${folder} (${error.message}); free some space there, or name another folder`,
      );
    });
  }
  return written;
}
