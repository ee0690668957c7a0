// Reads the input of a run: its own fields, or the recipe of a run folder where the run is resumed.

import { OnehourError, UsageError } from "../errors.js";
import type { Meeting } from "../ranks/meeting.js";
import {
  type PartialRecipe,
  type RecipeInput,
  readFields,
  refuse,
  withDefaults,
} from "../recipe/fields.js";
import { pinModules } from "../recipe/modules.js";
import { readRecipeText, readRunRecipe, resumedRecipe } from "../recipe/run-recipe.js";
import { defaultOf, table } from "../recipe/table.js";
import { nameOf } from "../recipe/voice.js";
import { readCheckpoint } from "../run-folder/checkpoint.js";
import type { Resume } from "../run-folder/run-folder.js";
import { settleRun } from "../run-folder/settle.js";
import { exists } from "../system/exists.js";
import type { Stage } from "../terminal/stages.js";
import { plural, shown } from "../text/words.js";
import type { RunEvent } from "./events.js";

/** What a run is to do. */
export interface Input {
  partial: PartialRecipe;
  /** Whether it continues the run of its folder. */
  resume: boolean;
}

/** What is asked for besides the recipe. */
export interface InputOptions {
  resume: Resume;
  onEvent: (event: RunEvent) => void;
}

/**
 * What a run is given, each field checked by itself. Where the ranks are started already they are `worldSize`,
 * which is then the number of workers.
 */
export function readGiven(input: RecipeInput, resume: Resume, worldSize?: number): RecipeInput {
  const given = ofWorld(readFields(input), worldSize);
  if (resume !== false && given.out === undefined)
    throw refuse("resume", `name the run folder with ${nameOf("out")}`);
  return given;
}

/**
 * Settles with all others whether the run of the folder goes on, and reads what it is to do: of rank 0's folder
 * where it does, else what was given.
 */
export async function readTogether(
  given: RecipeInput,
  meeting: Meeting,
  { resume, onEvent }: InputOptions,
): Promise<Input> {
  const isFirst = meeting.rank === 0;
  const say = (text: string) => isFirst && onEvent({ type: "message", text });
  const show = (stage: Stage) => onEvent({ type: "progress", ...stage });
  // The others wait no longer for the rank that waits for its folder.
  const seconds = (await timeoutOf(given, resume)) / 2;
  if (!(await settleRun(meeting, given.out, resume, { seconds, say, show }))) {
    await requireInit(given);
    return { partial: withDefaults(pinModules(given)), resume: false };
  }
  const own = isFirst ? [given.out!, await readRecipeText(given.out!)] : [];
  const [first] = await meeting.gather("recipe", JSON.stringify(own));
  const [folder, text] = JSON.parse(first!) as [string, string];
  const recipe = await resumedRecipe(folder, text, given);
  return { partial: withDefaults(pinModules(recipe)), resume: true };
}

/**
 * Seconds to wait for others: those given, else of the run at this rank's own path, which need not be the one that
 * goes on.
 */
export async function timeoutOf(given: RecipeInput, resume: Resume): Promise<number> {
  const { out, timeout } = given;
  if (timeout !== undefined) return timeout;
  const isThere = resume !== false && out !== undefined;
  const kept = isThere ? await readRunRecipe(out, {}).catch(() => undefined) : undefined;
  return kept?.timeout ?? (defaultOf(table.timeout) as number);
}

function ofWorld(given: RecipeInput, worldSize: number | undefined): RecipeInput {
  if (worldSize === undefined) return given;
  const { workers = worldSize } = given;
  if (workers === worldSize) return { ...given, workers };
  throw refuse(
    "workers",
    `the launcher started ${plural(worldSize, "process")}, not ${workers}; ` +
      `leave ${nameOf("workers")} out, or start as many`,
  );
}

/** Refuses a file to start from that is not there or holds no weights. */
async function requireInit({ init }: RecipeInput): Promise<void> {
  if (init === undefined) return;
  if (exists(init)) {
    await readCheckpoint(init).catch((error) => {
      if (!(error instanceof OnehourError)) throw error;
      throw new UsageError(error.code, `${nameOf("init")}: ${error.message}`, { cause: error });
    });
    return;
  }
  throw refuse(
    "init",
    `cannot read ${shown(init)} (there is no such file); expected a safetensors file, for example the ` +
      "checkpoint.safetensors of a run folder",
  );
}
