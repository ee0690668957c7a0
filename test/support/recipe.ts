// A recipe of a test, checked and with its defaults.
import { type PartialRecipe, readFields, withDefaults } from "../../lib/recipe/fields.js";

export const parseRecipe = (input: unknown): PartialRecipe => withDefaults(readFields(input));
