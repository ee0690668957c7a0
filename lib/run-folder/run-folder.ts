// The folder of a run: its name, who writes to it, and its recipe.

import { mkdir, rm, rmdir } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { OnehourError, UsageError } from "../errors.js";
import { isModule, titleOf } from "../modules/pinned.js";
import type { Recipe } from "../recipe/fields.js";
import { formatRecipe, recipeName } from "../recipe/run-recipe.js";
import { nameOf, setting } from "../recipe/voice.js";
import { exists } from "../system/exists.js";
import { bestName, checkpointName, previousName } from "./checkpoint.js";
import { isThere, removeTemporary, replaceFile, unwritable } from "./files.js";
import { type LockOptions, RunLock } from "./lock.js";
import { logName, unreadableName } from "./log.js";

/**
 * Makes `runs/<dataset>-<model>-<date>`, under the first such name that nobody has: of two runs
 * started at once each gets its own.
 */
export async function claimRunFolder(dataset: string, model: string): Promise<string> {
  const date = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  const name = join("runs", `${shortName(dataset)}-${titleOf(model)}-${date}`);
  for (let i = 1; ; i++) {
    const folder = i === 1 ? name : `${name}-${i}`;
    try {
      await makeFolder(resolve(dirname(folder)));
      await mkdir(folder);
      return folder;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw unwritable(folder, error);
    }
  }
}

/** Removes a folder that was claimed for a run which never began. */
export async function releaseRunFolder(folder: string): Promise<void> {
  await rmdir(folder).catch(() => {}); // it holds something, and is kept
}

/** Holds the files of a run that are on their way here; while it is there they may be a part of them only. */
export const incomingName = "incoming";

/** Holds when each instruction of some steps ran. */
export const traceName = "trace.json";

/** What rank 0 runs on, and the page about the run. */
export const environmentName = "environment.json";
export const reportName = "report.html";

/** Whether a run is to be continued: true where there must be one, "auto" if there is one. */
export type Resume = boolean | "auto";

/** The first file of a run that a folder holds. Without recipe.json, which comes first, no run can go on. */
export function findRun(folder: string): string | undefined {
  const names = [recipeName, logName, checkpointName, previousName];
  return names.find((name) => isThere(join(folder, name)));
}

/** The error for a folder in which no run may begin; `where` names it. */
export function holdsRun(where: string, found: string): OnehourError {
  const problem =
    found === recipeName
      ? `holds a run already (${found}); continue it with ${setting("resume")}`
      : `holds ${found}, but not the ${recipeName} that a run needs to go on; put that back`;
  return new UsageError(
    "ERR_ONEHOUR_RUN_FOLDER",
    `${where} ${problem}, or name another ${nameOf("out")}`,
  );
}

/** The error for a folder without a run to go on. */
export function holdsNoRun(where: string): OnehourError {
  return new UsageError(
    "ERR_ONEHOUR_RUN_FOLDER",
    `${where} holds no run to resume (looked for ${recipeName}); ` +
      `name the run folder with ${nameOf("out")}, or start one without ${setting("resume")}`,
  );
}

/** Refuses a folder that holds a run unless it is to be resumed, and one that holds none if it is. */
function checkRunFolder(folder: string, resume: boolean): void {
  const found = findRun(folder);
  if (found !== undefined && !resume) throw holdsRun(folder, found);
  if (found !== recipeName && resume) throw holdsNoRun(folder);
}

/**
 * Makes a folder and its parents. Node's own `recursive` tries for ever where a folder can hold
 * none, such as /proc.
 */
export async function makeFolder(folder: string): Promise<void> {
  if (exists(folder)) return;
  await makeFolder(dirname(folder));
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error; // another run made it meanwhile
  });
}

/** A data set's kind, or the name of its folder. */
function shortName(dataset: string): string {
  if (isModule(dataset)) return titleOf(dataset);
  return basename(isAbsolute(dataset) ? dataset : dataset.split(":")[0]!);
}

/**
 * Takes the lock of a run folder, which is made where the run is new, and clears away what a crash left
 * half written. Undefined where a signal ended the wait for it. Throws ERR_ONEHOUR_RUN_FOLDER where
 * another process holds it, or wrote there before.
 */
export async function holdRunFolder(
  folder: string,
  resume: boolean,
  options: LockOptions,
): Promise<RunLock | undefined> {
  let lock: RunLock | undefined;
  try {
    if (!resume) await makeFolder(resolve(folder));
    lock = await RunLock.take(folder, options);
  } catch (error) {
    throw error instanceof OnehourError ? error : unwritable(folder, error);
  }
  if (!lock) return undefined;
  try {
    checkRunFolder(folder, resume);
    const names = [
      ...[recipeName, environmentName, logName, unreadableName, traceName, reportName],
      ...[checkpointName, previousName, bestName],
    ];
    for (const name of names) await removeTemporary(folder, name);
    // What cannot be removed takes up room, and nothing else.
    await rm(join(folder, incomingName), { recursive: true, force: true }).catch(() => {});
    return lock;
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Writes recipe.json of the run that goes by `id`. */
export async function writeRecipe(folder: string, recipe: Recipe, id: string): Promise<void> {
  await replaceFile(folder, recipeName, formatRecipe(recipe, id));
}
