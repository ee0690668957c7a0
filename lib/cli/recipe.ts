// Reads a recipe: one of the package's by its name, or a file, JSON or a TypeScript or JavaScript module
// whose default export is the recipe.
import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { OnehourError } from "../errors.js";
import { exampleRecipe, type RecipeInput, readFields } from "../recipe/fields.js";
import { exists, isForbidden } from "../system/exists.js";
import { readText } from "../system/regular-file.js";
import { closestTo } from "../text/nearest.js";
import { shown } from "../text/words.js";
import { usageError } from "./values.js";

const packaged = fileURLToPath(new URL("../../recipes", import.meta.url));

/** What a recipe's file may say of it besides its fields: where it is from, and what accuracy to expect. */
const remarks = ["source", "expected"];

/** Names of the recipes that come with the package. */
export function recipeNames(): string[] {
  return readdirSync(packaged)
    .map((file) => file.replace(/\.json$/, ""))
    .sort();
}

function withoutRemarks(recipe: unknown): unknown {
  if (typeof recipe !== "object" || recipe === null || Array.isArray(recipe)) return recipe;
  return Object.fromEntries(Object.entries(recipe).filter(([key]) => !remarks.includes(key)));
}

/** The fields that the recipe sets, each checked by itself. */
export async function readRecipe(nameOrFile: string): Promise<RecipeInput> {
  const names = recipeNames();
  const path = names.includes(nameOrFile)
    ? resolve(packaged, `${nameOrFile}.json`)
    : resolve(nameOrFile);
  if (!exists(path)) {
    const meant = closestTo(nameOrFile, names);
    throw usageError(
      `--recipe: there is no recipe ${shown(nameOrFile)}` +
        `${meant === undefined ? "." : `; did you mean ${meant}?`} Name a .json or .ts file, for ` +
        `example the recipe.json of an earlier run folder, or one of ${names.join(", ")}`,
    );
  }
  const recipe = path.endsWith(".json") ? await parse(path) : await load(path);
  try {
    return readFields(withoutRemarks(recipe), "fields"); // as they are called in a file
  } catch (error) {
    if (!(error instanceof OnehourError)) throw error;
    throw usageError(`${path}: ${error.message}`);
  }
}

async function parse(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readText(path));
  } catch (error) {
    if (isForbidden(error)) throw error;
    const problem = error instanceof SyntaxError ? "is not JSON" : "cannot be read";
    throw usageError(
      `${path} ${problem} (${(error as Error).message}). ` +
        "Write it as the recipe.json of a run folder is, or name a .ts file.",
    );
  }
}

async function load(path: string): Promise<unknown> {
  const { loadDefault } = await import("../modules/load-default.js");
  return await loadDefault(path, `the recipe, an object such as ${exampleRecipe}`).catch(
    (error) => {
      throw usageError((error as Error).message);
    },
  );
}
