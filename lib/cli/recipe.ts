// Reads a recipe: one of the package's by its name, or a file, JSON or a TypeScript or JavaScript module
// whose default export is the recipe.
import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { RecipeInput } from "../recipe/recipe.js";
import { exists, isForbidden } from "../system/exists.js";
import { readText, requireRegular } from "../system/regular-file.js";
import { usageError } from "./values.js";

const packaged = fileURLToPath(new URL("../../recipes", import.meta.url));

/** Names of the recipes that come with the package. */
function recipeNames(): string[] {
  return readdirSync(packaged).map((file) => file.replace(/\.json$/, ""));
}

/** The fields that the recipe sets; the training code checks their values. */
export async function readRecipe(nameOrFile: string): Promise<RecipeInput> {
  const isName = recipeNames().includes(nameOrFile);
  const path = isName ? resolve(packaged, `${nameOrFile}.json`) : resolve(nameOrFile);
  if (!exists(path))
    throw usageError(
      `The recipe ${path} does not exist. Name a .json or .ts file, for example the recipe.json ` +
        `of an earlier run folder, or one of ${recipeNames().join(", ")}.`,
    );
  const recipe = path.endsWith(".json") ? await parse(path) : await load(path);
  if (typeof recipe !== "object" || recipe === null || Array.isArray(recipe))
    throw usageError(
      `${path} holds no recipe: expected an object such as {"dataset": "fashion-mnist", "epochs": 5}` +
        `${path.endsWith(".json") ? "" : " as the default export"}.`,
    );
  return recipe;
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
  try {
    await requireRegular(path);
    const { loadModule } = await import("../modules/load-module.js");
    const loaded = await loadModule(path);
    return "default" in loaded ? loaded.default : loaded;
  } catch (error) {
    throw usageError(
      `${path} could not be loaded: ${error instanceof Error ? error.message : error}. ` +
        "A recipe is a .json file, or a module whose default export is an object such as " +
        '{ dataset: "fashion-mnist", epochs: 5 }.',
    );
  }
}
