// A run as a report reads it from its folder, finished or not: nothing is written there and no lock taken.

import { basename, join, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { readRecipeText, recipeName } from "../recipe/run-recipe.js";
import { isThere } from "../run-folder/files.js";
import { lockName } from "../run-folder/lock.js";
import { readLog } from "../run-folder/log.js";
import type { LogLine } from "../run-folder/log-lines.js";
import { shown } from "../text/words.js";
import { trainingSeconds } from "./training-time.js";

export type Line<T extends LogLine["type"]> = Extract<LogLine, { type: T }>;

/** Where a line stands: epochs and images that were trained, and seconds of training. */
export interface Place {
  epochs: number;
  images: number;
  seconds: number;
}

export interface RunData {
  folder: string;
  /** That of the folder. */
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

const positive = (value: unknown) => (typeof value === "number" && value > 0 ? value : 1);

/** Steps of an epoch: the first step of the second; before that, those that there are. */
function stepsPerEpoch(lines: readonly LogLine[]): number {
  const steps = lines.filter((line) => line.type === "step");
  const later = steps.find(({ epoch, step }) => epoch > 0 && step > 0);
  const last = Math.max(0, ...steps.slice(-1).map(({ step }) => step + 1));
  return Math.max(1, later ? Math.floor(later.step / later.epoch) : last);
}

/** The lines of the steps that count, in order: after a restart some were trained again. */
function lastOfEach<T extends LogLine>(lines: readonly T[], number: (line: T) => number): T[] {
  const byNumber = new Map(lines.map((line) => [number(line), line]));
  return [...byNumber.values()].sort((a, b) => number(a) - number(b));
}

/**
 * Reads a run folder.
 * @throws OnehourError ERR_ONEHOUR_RUN_FOLDER where there is no run, or its recipe cannot be read.
 */
export async function readRun(folder: string): Promise<RunData> {
  if (!isThere(join(folder, recipeName)))
    throw new UsageError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `${folder} holds no run (looked for ${recipeName}); name the folder of a run, as in runs/`,
    );
  const text = await readRecipeText(folder);
  const recipe = parseRecipe(folder, text);
  const { lines, unreadable } = await readLog(folder);
  const minibatch = positive(recipe.workers) * positive(recipe.accumulate) * positive(recipe.batch);
  const perEpoch = stepsPerEpoch(lines);
  const times = trainingSeconds(lines, minibatch);
  let done = Number.POSITIVE_INFINITY; // steps so far; an epoch that ends the run may be shorter
  const placed = lines.map((line, i) => {
    if (line.type === "step") done = line.step + 1;
    const steps =
      line.type === "step"
        ? line.step + 1
        : line.type === "epoch"
          ? Math.min(done, (line.epoch + 1) * perEpoch)
          : "step" in line
            ? line.step
            : line.steps;
    const place = { epochs: steps / perEpoch, images: steps * minibatch, seconds: times[i]! };
    return { ...line, ...place };
  });
  const of = <T extends LogLine["type"]>(type: T) =>
    placed.filter((line) => line.type === type) as unknown as (Line<T> & Place)[];
  const last = lines.at(-1);
  const end = last?.type === "end" ? last : undefined;
  return {
    folder,
    name: basename(resolve(folder)),
    recipe,
    minibatch,
    status: end?.status ?? (isThere(join(folder, lockName)) ? "running" : "stopped without an end"),
    steps: lastOfEach(of("step"), ({ step }) => step),
    epochs: lastOfEach(of("epoch"), ({ epoch }) => epoch),
    restarts: of("restart"),
    ...(end ? { end } : {}),
    lines,
    unreadable: unreadable.length,
  };
}

function parseRecipe(folder: string, text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // as any other text that is no recipe
  }
  throw new UsageError(
    "ERR_ONEHOUR_RUN_FOLDER",
    `${join(folder, recipeName)} is not a recipe (${shown(text)}); put back the one that the run wrote`,
  );
}

/** Reads runs; those whose folders have one name get the path as theirs. */
export async function readRuns(folders: readonly string[]): Promise<RunData[]> {
  const runs = await Promise.all(folders.map(readRun));
  const isTwice = (name: string) => runs.filter((run) => run.name === name).length > 1;
  const named = runs.map((run) => ({ ...run, name: isTwice(run.name) ? run.folder : run.name }));
  const seen = new Set<string>();
  for (const { folder } of named) {
    if (seen.has(resolve(folder)))
      throw new UsageError("ERR_ONEHOUR_USAGE", `${folder} is named twice; name each run once`);
    seen.add(resolve(folder));
  }
  return named;
}
