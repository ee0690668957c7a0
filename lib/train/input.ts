// Reads the input of a run: its own fields, or the recipe of a run folder where the run is resumed.

import { OnehourError, UsageError } from "../errors.js";
import {
  type PartialRecipe,
  type RecipeInput,
  readFields,
  refuse,
  withDefaults,
} from "../recipe/fields.js";
import { pinModules } from "../recipe/modules.js";
import { readRunRecipe } from "../recipe/run-recipe.js";
import { nameOf } from "../recipe/voice.js";
import { readCheckpoint } from "../run-folder/checkpoint.js";
import { continuesRun, type Resume } from "../run-folder/run-folder.js";
import { exists } from "../system/exists.js";
import { plural, shown } from "../text/words.js";

/** What a run is to do. */
interface Input {
  partial: PartialRecipe;
  /** Whether it continues the run of its folder. */
  resume: boolean;
}

/**
 * Reads the recipe, of the run folder where the run is resumed, and checks each field. Where the ranks are
 * started already they are `worldSize`, which is then the number of workers.
 */
export async function readInput(
  input: RecipeInput,
  resume: Resume = false,
  worldSize?: number,
): Promise<Input> {
  const given = ofWorld(readFields(input), worldSize);
  const { out } = given;
  if (resume !== false) {
    if (out === undefined) throw refuse("resume", `name the run folder with ${nameOf("out")}`);
    if (continuesRun(out, resume)) {
      const partial = withDefaults(pinModules(await readRunRecipe(out, given)));
      return { partial, resume: true };
    }
  }
  await requireInit(given);
  return { partial: withDefaults(pinModules(given)), resume: false };
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
