// The networks that can be named.
import { OnehourError } from "../errors.js";
import { closestTo } from "../text/nearest.js";
import { shown } from "../text/words.js";
import type { Model, ModelBuilder } from "./model.js";
import { resnets } from "./resnet.js";

const builtIn: Readonly<Record<string, ModelBuilder>> = { ...resnets };
const table: Record<string, ModelBuilder> = { ...builtIn };

/** Builders by name; `addModel` adds a script's own. */
export const models: Readonly<Record<string, ModelBuilder>> = table;

const refuse = (problem: string) => new OnehourError("ERR_ONEHOUR_MODEL", problem);

/**
 * Adds a network to `models`, under whose name `train`, `evaluateCheckpoint` and `compileRun` then know it
 * in this process. Throws ERR_ONEHOUR_MODEL for a builder that is no function, and for a name that is
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
  table[name] = builder;
}

/** Whether a process that does not run the user's script builds the same network by this name. */
export function isBuiltInModel(name: string): boolean {
  return !Object.hasOwn(table, name) || Object.hasOwn(builtIn, name);
}

/** A builder by its name. Throws ERR_ONEHOUR_MODEL, with the nearest name, for one that is not there. */
export function modelNamed(name: string): ModelBuilder {
  if (Object.hasOwn(table, name)) return table[name]!;
  const names = Object.keys(table);
  const meant = closestTo(name, names);
  throw refuse(
    `there is no model ${shown(name)}${meant === undefined ? "." : `; did you mean "${meant}"?`} ` +
      `Models: ${names.join(", ")}`,
  );
}

/**
 * A network of `models`.
 *
 * @param options channels of an image, and number of classes
 * @throws OnehourError ERR_ONEHOUR_MODEL for a name that is not in the table
 */
export function resnet(name: string, options: { channels: number; classes: number }): Model {
  return modelNamed(name)(options);
}
