// The fields of a recipe that only `train` follows: a script's own loop has none of what they are about.
import { type RecipeInput, refuse } from "../recipe/fields.js";
import { defaultOf, type FieldName, table } from "../recipe/table.js";

/** What a script does in their place. */
const instead = {
  trace: "train() writes trace.json; a loop of your own does not. Leave it out",
  tensorboard: "train() writes event files, of its log; a loop of your own has none. Leave it out",
  checkpointMinutes:
    "train() saves by the clock; a loop of your own where it calls save(). Leave it out",
} satisfies { [F in FieldName]?: string };

/** Throws ERR_ONEHOUR_RECIPE for a field that would have no effect in a script's own loop. */
export function requireOfLoop(given: RecipeInput): void {
  for (const [name, problem] of Object.entries(instead) as [keyof typeof instead, string][]) {
    const value = given[name];
    // A recipe that was taken from a run folder has all fields.
    if (value && value !== defaultOf(table[name])) throw refuse(name, problem);
  }
}
