// The modules that a recipe names, such as `model: "./net.ts"`: pinned to their digests when a run begins,
// and loaded again only as they were, unless the user names them.
import { statSync } from "node:fs";
import { isModule, modulePath, pinned, runFolderOf } from "../modules/pinned.js";
import { type RecipeInput, refuse } from "./fields.js";
import { type FieldName, fieldsWhere } from "./table.js";
import { setting } from "./voice.js";

const moduleFields = fieldsWhere((row) => row.isModule === true);

/** A folder of images may be called as a module is. */
const isFolder = (name: string) =>
  statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;

function modulesOf(recipe: RecipeInput): [field: FieldName, name: string][] {
  return [...moduleFields].flatMap((field) => {
    const name = recipe[field];
    if (typeof name !== "string" || !isModule(name)) return [];
    return field === "dataset" && isFolder(name) ? [] : [[field, name] as [FieldName, string]];
  });
}

/** Whether all values name modules. */
export const areModules = (...names: unknown[]): boolean =>
  names.every((name) => typeof name === "string" && isModule(name));

/**
 * The recipe with the path and the digest of each module that it names. Throws ERR_ONEHOUR_MODULE for one
 * that cannot be read, or whose digest is another than the recipe's.
 */
export function pinModules(recipe: RecipeInput): RecipeInput {
  const names = modulesOf(recipe).map(([field, name]) => [field, pinned(name)]);
  return { ...recipe, ...Object.fromEntries(names) };
}

/**
 * Refuses a module in a run folder that only a file names, and not `given`, what the user typed: the folder
 * may come from anybody, and a module runs with the user's rights.
 */
export function requireOutsideRuns(recipe: RecipeInput, given: RecipeInput): void {
  for (const [field, name] of modulesOf(recipe)) {
    const folder = given[field] === undefined ? runFolderOf(name) : undefined;
    if (folder === undefined) continue;
    throw refuse(
      field,
      `the module ${modulePath(name)} lies in the run folder ${folder}, from which no code is run ` +
        `because a file says so. If you know what it does, name it: ${setting(field, modulePath(name))}`,
    );
  }
}
