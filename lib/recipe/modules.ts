// The modules that a recipe names, such as `model: "./net.ts"`: pinned to their digests when a run begins,
// and loaded again only as they were, unless the user names them.
import { statSync } from "node:fs";
import {
  foreignFolderOf,
  isModule,
  modulePath,
  moduleRest,
  pinned,
  pinnedAlone,
} from "../modules/pinned.js";
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

/** Whether both values name modules, with the same argument: a module may move, or change where it is named. */
export const areModules = (...names: [unknown, unknown]): boolean =>
  names.every((name) => typeof name === "string" && isModule(name)) &&
  new Set((names as string[]).map(moduleRest)).size === 1;

/**
 * The recipe with the path and the digest of each module that it names. Throws ERR_ONEHOUR_MODULE for one
 * that cannot be read, whose digest is another than the recipe's, or that has an argument but is no data set's.
 */
export function pinModules<Fields extends RecipeInput>(recipe: Fields): Fields {
  const names = modulesOf(recipe).map(([field, name]) => [
    field,
    field === "dataset" ? pinned(name) : pinnedAlone(name),
  ]);
  return { ...recipe, ...Object.fromEntries(names) };
}

/**
 * Refuses a module that lies with the `file` whose recipe names it, or in a run folder, and is not in
 * `given`, what the user typed: the folder may come from anybody, and a module runs with the user's rights.
 */
export function requireOwnModules(recipe: RecipeInput, given: RecipeInput, file: string): void {
  for (const [field, name] of modulesOf(recipe)) {
    const folder = given[field] === undefined ? foreignFolderOf(name, file) : undefined;
    if (folder === undefined) continue;
    throw refuse(
      field,
      `the module ${modulePath(name)} lies in ${folder}, the folder of a run or of the file that names ` +
        "it, from which no code is run because a file says so. If you know what it does, name it: " +
        setting(field, modulePath(name)),
    );
  }
}

/**
 * The fields that another machine has sent, with the modules of `given`, what the user typed on this one. Throws
 * where the others name one that was not typed here: it would run with this user's rights.
 */
export function withOwnModules<Fields extends RecipeInput>(
  sent: Fields,
  given: RecipeInput,
): Fields {
  for (const [field, name] of modulesOf(sent)) {
    if (given[field] !== undefined) continue;
    throw refuse(
      field,
      `node 0 names the module ${modulePath(name)}, which was not asked for here. Start all nodes with the ` +
        `same command, which names it: ${setting(field, modulePath(name))}`,
    );
  }
  const own = [...moduleFields].filter((field) => sent[field] !== undefined);
  return {
    ...sent,
    ...Object.fromEntries(own.map((field) => [field, given[field] ?? sent[field]])),
  };
}
