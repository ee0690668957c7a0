// The types of a recipe, the check of each field, and the defaults, derived from the table.
import type { z } from "zod";
import { OnehourError } from "../errors.js";
import type { MomentumRule } from "../ops/optimizers/optimizer.js";
import { shown } from "../text/words.js";
import { meaning } from "./meant.js";
import { defaultOf, type FieldName, rows, type Table, table } from "./table.js";
import { currentVoice, type Named, nameOf, type Voice } from "./voice.js";

/** A recipe as a user gives it; each field has its default. */
export type RecipeInput = { [F in keyof Table]?: z.input<Table[F]["schema"]> };

type Given<T> = { [F in keyof T]-?: Exclude<T[F], undefined> };
type WithDefault = {
  [F in FieldName]: undefined extends z.output<Table[F]["schema"]> ? never : F;
}[FieldName];
type Chosen =
  | ("model" | "workers" | "accumulate" | "epochs" | "milestones" | "precision")
  | keyof MomentumRule;

/** A recipe with the defaults that need neither data nor device filled in. */
export type PartialRecipe = Given<Pick<RecipeInput, WithDefault>> &
  Pick<RecipeInput, Exclude<FieldName, WithDefault>>;

/** A recipe in which nothing is left to choose; `recipe.json` of a run folder. */
export type Recipe = Given<Pick<RecipeInput, WithDefault | Chosen>> &
  Pick<RecipeInput, Exclude<FieldName, WithDefault | Chosen | "minibatch">>;

/** ERR_ONEHOUR_RECIPE that names a field as the user knows it, and what is wrong with it. */
export function refuse(name: Named, problem: string, as: Voice = currentVoice()): OnehourError {
  return new OnehourError("ERR_ONEHOUR_RECIPE", `${nameOf(name, as)}: ${problem}`);
}

/** The fields of a run folder's recipe.json that are not the recipe's: which run it is of, and the digest. */
export const [idField, digestField] = ["id", "digest"] as const;

/** A recipe by itself: one that was taken from a run folder begins another run as any does. */
export function recipeAlone(input: RecipeInput): RecipeInput {
  return Object.fromEntries(
    Object.entries(input).filter(([key]) => key !== idField && key !== digestField),
  );
}

/** A recipe to try, for messages. */
export const exampleRecipe = '{ dataset: "fashion-mnist", epochs: 5 }';

/**
 * The fields that an input sets, each checked by itself. Throws ERR_ONEHOUR_RECIPE that says what was
 * expected, naming fields as `as` says.
 */
export function readFields(input: unknown, as: Voice = currentVoice()): RecipeInput {
  if (Object.prototype.toString.call(input) !== "[object Object]") {
    const meant = typeof input === "string" ? `{ dataset: ${shown(input)} }` : exampleRecipe;
    throw new OnehourError(
      "ERR_ONEHOUR_RECIPE",
      `a recipe is an object, and this is ${shown(input)}; try ${meant}`,
    );
  }
  const given = Object.entries(recipeAlone(input as RecipeInput)).filter(
    ([, value]) => value !== undefined,
  );
  return Object.fromEntries(given.map(([key, value]) => [key, readField(key, value, as)]));
}

function readField(key: string, value: unknown, as: Voice): unknown {
  if (!Object.hasOwn(table, key)) {
    const names = rows.map(([name]) => name);
    const meant = meaning(key, names, "fields") ?? `its fields are ${names.join(", ")}`;
    throw new OnehourError("ERR_ONEHOUR_RECIPE", `a recipe has no field ${shown(key)}; ${meant}`);
  }
  const name = key as FieldName;
  const parsed = (table[name].schema as z.ZodType).safeParse(value);
  if (parsed.success) return parsed.data;
  throw refuse(name, parsed.error.issues[0]!.message, as);
}

/** Fills in the defaults that need neither data nor device. */
export function withDefaults(fields: RecipeInput): PartialRecipe {
  const values = rows
    .map(([name, row]) => [name, fields[name] ?? defaultOf(row)] as const)
    .filter(([, value]) => value !== undefined);
  return Object.fromEntries(values) as PartialRecipe;
}
