// The fields of a recipe that only `train` follows: a script's own loop has none of what they are about.

import type { Field } from "../recipe/field.js";
import { type RecipeInput, refuse } from "../recipe/fields.js";
import { defaultOf, fieldsWhere, table } from "../recipe/table.js";

/** Throws ERR_ONEHOUR_RECIPE for a field that would have no effect in a script's own loop. */
export function requireOfLoop(given: RecipeInput): void {
  for (const name of fieldsWhere(({ trainOnly }) => trainOnly !== undefined)) {
    const row: Field = table[name];
    const value = given[name];
    // A recipe that was taken from a run folder has all fields.
    if (value && value !== defaultOf(row)) throw refuse(name, `${row.trainOnly}. Leave it out`);
  }
}
