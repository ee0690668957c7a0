// A run as a report reads it from its folder, finished or not: nothing is written there and no lock taken.

import { join, resolve } from "node:path";
import { OnehourError, UsageError } from "../errors.js";
import { readFields, recipeAlone } from "../recipe/fields.js";
import { readRecipeText, recipeName } from "../recipe/run-recipe.js";
import { isThere } from "../run-folder/files.js";
import { isHeld } from "../run-folder/lock.js";
import { readLog } from "../run-folder/log.js";
import type { Line, LogLine } from "../run-folder/log-lines.js";
import { shown } from "../text/words.js";
import { type RunEnvironment, readEnvironment } from "./run-environment.js";
import { trainingSeconds } from "./training-time.js";

/** Where a line stands: epochs and images that were trained, and seconds of training. */
export interface Place {
  /** Undefined while the log does not tell how long an epoch is. */
  epochs: number | undefined;
  images: number;
  seconds: number;
}

export interface RunData extends RunEnvironment {
  folder: string;
  /** The end of the folder's path, as long as no other run has it. */
  name: string;
  /** The fields of recipe.json. */
  recipe: Record<string, unknown>;
  /** Images of a step, kn. */
  minibatch: number;
  status: "running" | "finished" | "interrupted" | "failed" | "stopped without an end";
  /** Of a repeated step the last. */
  steps: (Line<"step"> & Place)[];
  epochs: (Line<"epoch"> & Place)[];
  restarts: (Line<"restart"> & Place)[];
  end?: Line<"end">;
  /** All lines that can be read, in the log's order. */
  lines: readonly LogLine[];
  /** Lines that cannot. */
  unreadable: number;
}

/** Steps of an epoch, as far as the log tells. */
function stepsPerEpoch(
  lines: readonly LogLine[],
  { epochs, steps = Number.POSITIVE_INFINITY }: Record<string, unknown>,
): number | undefined {
  // Each step has as many epochs before it as its line says.
  let most = Number.POSITIVE_INFINITY;
  let done = 0;
  let first: number | undefined; // where the first epoch ended
  for (const line of lines) {
    if (line.type === "epoch") first ??= done;
    if (line.type !== "step") continue;
    done = line.step + 1;
    if (line.epoch > 0) most = Math.min(most, Math.floor(line.step / line.epoch));
  }
  if (most < Number.POSITIVE_INFINITY) return Math.max(1, most);
  // The end of a run may have cut it short.
  return first && first < Number(steps) && !(Number(epochs) < 1) ? first : undefined;
}

/** The lines of the steps that count, in order: after a restart some were trained again. */
function lastOfEach<T extends LogLine>(lines: T[], number: (line: T) => number): T[] {
  const isInOrder = lines.every((line, i) => i === 0 || number(lines[i - 1]!) < number(line));
  if (isInOrder) return lines;
  const byNumber = new Map(lines.map((line) => [number(line), line]));
  return [...byNumber.values()].sort((a, b) => number(a) - number(b));
}

/**
 * The recipe of a run, and the images of its steps. Fields that another version knows are shown as they are.
 * @throws OnehourError ERR_ONEHOUR_RUN_FOLDER where there is no run, or its recipe cannot be read.
 */
async function readRecipe(folder: string): Promise<Pick<RunData, "recipe" | "minibatch">> {
  if (!isThere(join(folder, recipeName)))
    throw new UsageError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `${folder} holds no run (looked for ${recipeName}); name the folder of a run, such as runs/NAME`,
    );
  const text = await readRecipeText(folder);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new Error(`it is ${shown(value)}`);
    const recipe: Record<string, unknown> = recipeAlone(value);
    const { workers, accumulate, batch } = recipe;
    const sizes = readFields({ workers, accumulate, batch }, "fields");
    const minibatch = (sizes.workers ?? 1) * (sizes.accumulate ?? 1) * (sizes.batch ?? 1);
    return { recipe, minibatch };
  } catch (error) {
    const { message } = error as Error;
    throw new OnehourError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `${join(folder, recipeName)} is not a recipe (${message}); put back the one that the run wrote`,
    );
  }
}

/** What a run's folder holds; throws as `readRecipe` does. */
async function readRun(folder: string): Promise<Omit<RunData, "name">> {
  const { recipe, minibatch } = await readRecipe(folder);
  const { lines, unreadable } = await readLog(folder);
  const perEpoch = stepsPerEpoch(lines, recipe);
  const times = trainingSeconds(lines, minibatch);
  let done = 0; // steps so far
  const placed = lines.map((line, i) => {
    if (line.type === "step") done = line.step + 1;
    const steps = line.type === "restart" ? line.step : done;
    const epochs = perEpoch === undefined ? undefined : steps / perEpoch;
    const place: Place = { epochs, images: steps * minibatch, seconds: times[i]! };
    // Of steps, which have none of these, there may be a million: no copies.
    return line.type === "step" ? Object.assign(line, place) : { ...line, ...place };
  });
  const of = <T extends LogLine["type"]>(type: T) =>
    placed.filter((line) => line.type === type) as unknown as (Line<T> & Place)[];
  const last = lines.at(-1);
  const end = last?.type === "end" ? last : undefined;
  return {
    folder,
    recipe,
    minibatch,
    status: end?.status ?? ((await isHeld(folder)) ? "running" : "stopped without an end"),
    steps: lastOfEach(of("step"), ({ step }) => step),
    epochs: lastOfEach(of("epoch"), ({ epoch }) => epoch),
    restarts: of("restart"),
    ...(end ? { end } : {}),
    lines,
    unreadable: unreadable.length,
    ...(await readEnvironment(folder)),
  };
}

/** For each path its last part, with those before it where several paths end alike. */
export function shortest(paths: readonly string[]): string[] {
  const parts = paths.map((path) => path.split("/").filter(Boolean));
  const tail = (path: readonly string[], length: number) => path.slice(-length).join("/");
  return parts.map((path) => {
    let length = 1;
    const isShared = () =>
      parts.filter((other) => tail(other, length) === tail(path, length)).length > 1;
    while (length < path.length && isShared()) length++;
    return tail(path, length);
  });
}

/**
 * Reads runs; one that is named twice counts once.
 * @throws OnehourError ERR_ONEHOUR_RUN_FOLDER for a folder that holds no run or cannot be read.
 */
export async function readRuns(folders: readonly string[]): Promise<RunData[]> {
  const paths = [...new Set(folders.map((folder) => resolve(folder)))];
  const named = paths.map((path) => folders.find((folder) => resolve(folder) === path)!);
  const names = shortest(paths);
  const runs = await Promise.all(named.map(readRun));
  return runs.map((run, i) => ({ ...run, name: names[i]! }));
}
