// recipe.json of a run folder: the run's recipe with its id and a digest, and what of it may change on resume.

import { createHash, randomBytes } from "node:crypto";
import { isAbsolute, join, resolve } from "node:path";
import { canonicalName } from "../data/datasets.js";
import { OnehourError } from "../errors.js";
import { isModule } from "../modules/pinned.js";
import { isForbidden } from "../system/exists.js";
import { readText } from "../system/regular-file.js";
import { commandLine } from "../text/command.js";
import { plural, shown } from "../text/words.js";
import {
  digestField,
  idField,
  type Recipe,
  type RecipeInput,
  readFields,
  recipeAlone,
} from "./fields.js";
import { areModules, requireOwnModules } from "./modules.js";
import { sortMilestones } from "./recipe.js";
import { defaultOf, type FieldName, fieldsWhere, table } from "./table.js";
import { nameOf } from "./voice.js";
import { sharedFields, withWorkers } from "./with-workers.js";

export const recipeName = "recipe.json";

/** Fields that may change when a run is resumed; no other may, or it would be another run. */
const changeable = fieldsWhere(({ onResume }) => onResume === true);

/** Fields that may change together: their product stays. */
const sharing = fieldsWhere(({ onResume }) => onResume === "together");

const namesOf = (fields: ReadonlySet<FieldName>) =>
  [...fields].map((field) => nameOf(field)).join(", ");

/** The fields that may not change, as a checkpoint keeps them. */
export function fixedFields(recipe: Recipe): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(recipe).filter(([key]) => !changeable.has(key as FieldName)),
  );
}

/** Of the fields' values, in whatever order and layout they are written. */
function digestOf(fields: object): string {
  const entries = Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash("sha256").update(JSON.stringify(entries)).digest("hex");
}

/** A name for a run, which all copies of it share and no other run has. */
export const newRunId = () => randomBytes(16).toString("hex");

/** The text of recipe.json. */
export function formatRecipe({ out: _, ...kept }: Recipe, id: string | undefined): string {
  const fields = JSON.parse(JSON.stringify({ ...kept, [idField]: id })); // as it will be read
  return `${JSON.stringify({ ...fields, [digestField]: digestOf(fields) }, undefined, 2)}\n`;
}

/** Fields that a run keeps in another form than they may be typed in, and how to get it. */
const keptForms: { [Field in keyof RecipeInput]?: (value: never) => unknown } = {
  dataset: canonicalName,
  milestones: sortMilestones,
  init: (file: string) => resolve(file),
};

/** Whether a value as typed means the one that the run kept. */
async function isSame(key: string, kept: unknown, typed: unknown): Promise<boolean> {
  if (JSON.stringify(kept) === JSON.stringify(typed)) return true;
  // −1 leaves the number of batches to the run.
  if (key === "preciseBatchNorm" && typed === -1) return Number(kept) > 0;
  const form = keptForms[key as keyof RecipeInput];
  if (!form || kept === undefined) return false;
  const [a, b] = [await form(kept as never), await form(typed as never)];
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether both values name folders of images: a checkpoint knows whether they are the same ones. */
const areFolders = (...names: unknown[]) =>
  names.every(
    (name) => typeof name === "string" && !isModule(name) && isAbsolute(canonicalName(name)),
  );

/** Whether a field names the same thing in another place. */
const isMoved = (key: string, before: unknown, after: unknown) =>
  areModules(before, after) || (key === "dataset" && areFolders(before, after));

/** What to do where a run may not be resumed; a recipe.json that was refused cannot begin another run. */
const another = (folder: string) =>
  `start another run from its weights, with a recipe of your own: ${commandLine(
    ...["train", "--recipe", "RECIPE", "--init", join(folder, "checkpoint.safetensors")],
    ...["--out", "FOLDER"],
  )}`;

function refuseRecipe(problem: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_RUN_FOLDER", problem);
}

/** What a recipe.json holds: the recipe, and the run's id. */
interface StoredRun {
  recipe: RecipeInput;
  id: string;
}

/** A recipe.json that is as the run wrote it. Runs of earlier versions, which had no id, go by the digest. */
function parseStored(folder: string, text: string): StoredRun {
  const file = join(folder, recipeName);
  let stored: unknown;
  let digest: string;
  let fields: Record<string, unknown>;
  try {
    stored = JSON.parse(text);
    const { [digestField]: _, ...rest } = Object(stored) as Record<string, unknown>;
    fields = rest;
    digest = digestOf(fields);
  } catch (error) {
    throw refuseRecipe(
      `${file} is not a recipe (${(error as Error).message}); expected the one that the run wrote. Put ` +
        `it back, or ${another(folder)}`,
    );
  }
  if ((stored as Record<string, unknown> | null)?.[digestField] !== digest) {
    throw refuseRecipe(
      `${file} is not as the run wrote it: its contents do not have its ${digestField}. Put it ` +
        `back as it was; ${namesOf(changeable)} may be changed where it is resumed, and for any other ` +
        `field ${another(folder)}`,
    );
  }
  const id = fields[idField];
  return { recipe: recipeAlone(fields), id: typeof id === "string" ? id : digest };
}

/** The text of a run folder's recipe.json; ERR_ONEHOUR_RUN_FOLDER where it cannot be read. */
export async function readRecipeText(folder: string): Promise<string> {
  const file = join(folder, recipeName);
  return await readText(file).catch((error: Error) => {
    const advice = isForbidden(error)
      ? "make it readable for this user"
      : "expected the one that the run wrote";
    throw refuseRecipe(`cannot read ${file} (${error.message}); ${advice}`);
  });
}

/** The id of the run in a folder; throws as `readRecipeText` does, and where it is not as the run wrote it. */
export async function readRunId(folder: string): Promise<string> {
  return parseStored(folder, await readRecipeText(folder)).id;
}

/** The recipe of a run folder, with what `given` may change; refuses what it may not. */
export async function readRunRecipe(folder: string, given: RecipeInput): Promise<RecipeInput> {
  return await resumedRecipe(folder, await readRecipeText(folder), given);
}

/** As `readRunRecipe`, from the text of the folder's recipe.json. */
export async function resumedRecipe(
  folder: string,
  text: string,
  given: RecipeInput,
): Promise<RecipeInput> {
  const file = join(folder, recipeName);
  const stored = readFields(parseStored(folder, text).recipe, "fields");
  const { workers = 1, batch = 1, accumulate = 1 } = stored;
  // Of the same size by another name nothing changes.
  const merged: Record<string, unknown> = {
    minibatch: workers * accumulate * batch,
    ...withWorkers(stored, given.workers ?? workers),
  };
  for (const [key, value] of Object.entries(given) as [FieldName, unknown][]) {
    const before = merged[key] ?? defaultOf(table[key]);
    if (changeable.has(key) || isMoved(key, before, value)) {
      merged[key] = value;
    } else if (!(await isSame(key, before, value))) {
      const name = nameOf(key);
      const [own, now] = [stored[key] ?? before, plural(Number(merged.workers), "worker")];
      const becomes = own === before ? "" : `, which is ${shown(before)} with ${now}`;
      throw new OnehourError(
        "ERR_ONEHOUR_RECIPE",
        `${name} is ${shown(own)} in ${file}${becomes}, and ${shown(value)} was asked for; ` +
          `a resumed run may change ${namesOf(changeable)} only, and ${namesOf(sharing)} where their product ` +
          `stays. Leave ${name} out, or start another run`,
      );
    }
  }
  requireOwnModules(merged, given, file);
  return merged;
}

/** A checkpoint's fields for k workers; as they are where it cannot have as many. */
function sharedBy(kept: Record<string, unknown>, k: number): Record<string, unknown> {
  const given = sharedFields.filter((field) => Object.hasOwn(kept, field));
  try {
    const shares = readFields(Object.fromEntries(given.map((field) => [field, kept[field]])));
    return { ...kept, ...withWorkers(shares, k) };
  } catch (error) {
    if (error instanceof OnehourError) return kept;
    throw error;
  }
}

/**
 * Throws ERR_ONEHOUR_RUN_FOLDER unless a run is the one whose fields a checkpoint keeps: recipe.json may
 * be another run's, or have been written anew with its digest. A field that is younger than the
 * checkpoint had its default.
 */
export function requireSameRecipe(file: string, kept: Record<string, unknown>, run: Recipe): void {
  const folder = run.out ?? "";
  const now: Record<string, unknown> = JSON.parse(JSON.stringify(fixedFields(run)));
  const then = sharedBy(kept, run.workers);
  for (const key of new Set([...Object.keys(then), ...Object.keys(now)])) {
    const row = Object.hasOwn(table, key) ? table[key as FieldName] : undefined;
    const [before, after] = [then[key] ?? (row && defaultOf(row)), now[key]];
    if (JSON.stringify(before) === JSON.stringify(after) || isMoved(key, before, after)) continue;
    throw refuseRecipe(
      `${key} is ${shown(after)} in ${join(folder, recipeName)}, but ` +
        `${shown(before)} in the run that saved ${file}. Put recipe.json back as it was, or ` +
        another(folder),
    );
  }
}

/** Throws ERR_ONEHOUR_RUN_FOLDER where a checkpoint says that another run than that of the folder saved it. */
export function requireSameRun(file: string, kept: string | undefined, id: string): void {
  if (kept === undefined || kept === id) return; // earlier versions wrote none
  throw refuseRecipe(
    `${file} is of the run ${shown(kept)}, but the ${recipeName} beside it of ${shown(id)}; put the ` +
      "files of one run there",
  );
}
