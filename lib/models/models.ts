// The table of networks by name, built in, added by a script, or from a module.
import { OnehourError, UsageError } from "../errors.js";
import { isModule, loadPinned, modulePath, pinnedAlone } from "../modules/pinned.js";
import { readOnly } from "../modules/read-only.js";
import { closestTo } from "../text/nearest.js";
import { shown } from "../text/words.js";
import { checked } from "./check.js";
import type { Model, ModelBuilder } from "./model.js";
import { resnets } from "./resnet.js";
import { vggs } from "./vgg.js";

const builtIn: Readonly<Record<string, ModelBuilder>> = { ...resnets, ...vggs };
const table: Record<string, ModelBuilder> = { ...builtIn };

/** The built-in names, those that differ in one number as one word: resnet18/34. */
export const modelsInShort = inShort(Object.entries(builtIn));

function inShort(builders: [string, ModelBuilder][]): string {
  const numbers = new Map<string, string[]>();
  for (const [name, { smallImages }] of builders) {
    const word = name.replace(/\d+/, "#") + (smallImages ? " (small images)" : "");
    numbers.set(word, [...(numbers.get(word) ?? []), ...(name.match(/\d+/) ?? [])]);
  }
  return [...numbers].map(([word, all]) => word.replace("#", all.join("/"))).join(", ");
}

/** Builders by name; `addModel` adds a script's own. */
export const models: Readonly<Record<string, ModelBuilder>> = readOnly(
  table,
  "a script adds a network by addModel(name, builder)",
);

const refuse = (problem: string) => new OnehourError("ERR_ONEHOUR_MODEL", problem);

/**
 * Adds a network to `models`, under whose name `train`, `evaluateCheckpoint` and `compileRun` then know it
 * in this process. Throws ERR_ONEHOUR_MODEL for a builder that is not a function, and for a name that is
 * taken, empty, or a module's, as `./net.ts`.
 */
export function addModel(name: string, builder: ModelBuilder): void {
  if (typeof name !== "string" || !/^[\w-]+$/.test(name)) {
    throw refuse(`a network's name is letters, digits, - and _, and not ${shown(name)}`);
  }
  if (typeof builder !== "function") {
    throw refuse(`the builder of ${name} is a function, and not ${shown(builder)}`);
  }
  if (Object.hasOwn(table, name)) throw refuse(`there is a network ${name} already`);
  table[name] = checked(name, builder);
}

const opened = new Map<string, ModelBuilder>(); // modules, by name

/**
 * Loads the network of a name where that is a module's, such as `./net.ts`, for `modelNamed` to find. Throws
 * ERR_ONEHOUR_MODULE for a module that cannot be loaded or whose default export builds no network.
 */
export async function openModel(name: string): Promise<void> {
  if (!isModule(name)) return;
  const builder = await loadPinned(name, "a network, as `network` makes it");
  if (typeof builder !== "function") {
    throw new UsageError(
      "ERR_ONEHOUR_MODULE",
      `the default export of ${modulePath(name)} is ${shown(builder)}; expected a function that ` +
        "builds a network, as `network` makes it",
    );
  }
  opened.set(name, checked(name, builder as ModelBuilder));
}

/** As `openModel`; returns the name that keeps a module's digest, for other processes to open it by. */
export async function pinModel(name: string): Promise<string> {
  const kept = isModule(name) ? pinnedAlone(name) : name;
  await openModel(kept);
  return kept;
}

/** Whether a process that does not run the user's script builds the same network by this name. */
export function isBuiltInModel(name: string): boolean {
  return !Object.hasOwn(table, name) || Object.hasOwn(builtIn, name);
}

/** A builder by its name. Throws ERR_ONEHOUR_MODEL, with the nearest name, for one that is not there. */
export function modelNamed(name: string): ModelBuilder {
  const own = opened.get(name);
  if (own) return own;
  if (Object.hasOwn(table, name)) return table[name]!;
  const names = Object.keys(table);
  const meant = typeof name === "string" ? closestTo(name, names) : undefined;
  throw refuse(
    `there is no model ${shown(name)}${meant === undefined ? "." : `; did you mean "${meant}"?`} ` +
      `Models: ${names.join(", ")}, and a module of your own, ./net.ts`,
  );
}

/**
 * A network of `models`.
 *
 * @param options channels of an image, and number of classes
 * @throws OnehourError ERR_ONEHOUR_MODEL for a name that is not in the table
 */
export function buildModel(name: string, options: { channels: number; classes: number }): Model {
  return modelNamed(name)(options);
}
