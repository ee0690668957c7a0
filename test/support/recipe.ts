// Checks a test's recipe and fills in its defaults.
import { type PartialRecipe, readFields, withDefaults } from "../../lib/recipe/fields.js";

export const parseRecipe = (input: unknown): PartialRecipe => withDefaults(readFields(input));
