// The options of `train` and `Trainer`, besides the recipe.

import type { Writable } from "node:stream";
import { UsageError } from "../errors.js";
import type { World } from "../ranks/world.js";
import { meaning } from "../recipe/meant.js";
import { table } from "../recipe/table.js";
import { shown } from "../text/words.js";
import { Reporter, type RunEvent } from "./events.js";

export interface TrainOptions {
  /** The ranks to train with, where the script has met them with connect() already. */
  world?: World;
  /** Continue the run in the recipe's `out` from its last checkpoint. */
  resume?: boolean;
  /** Where lines and progress go; standard output by default, null for nowhere. */
  output?: (Writable & { isTTY?: boolean }) | null;
  /** Called with what happens: every step, epoch and message, and the end. Only where rank 0 is seen. */
  onEvent?: (event: RunEvent) => void;
}

/** Whether a value is an object with this method. */
const can = (value: unknown, method: string) =>
  typeof (value as Record<string, unknown> | null)?.[method] === "function";

/** What an option may be besides undefined. */
interface Kind {
  expected: string;
  fits(value: unknown): boolean;
}

const kinds: Readonly<Record<keyof TrainOptions, Kind>> = {
  world: { expected: "what connect() resolves to", fits: (value) => can(value, "gather") },
  resume: { expected: "true or false", fits: (value) => typeof value === "boolean" },
  output: {
    expected: "a stream to write to, or null",
    fits: (value) => value === null || can(value, "write"),
  },
  onEvent: { expected: "a function", fits: (value) => typeof value === "function" },
};

const refuse = (problem: string) => new UsageError("ERR_ONEHOUR_USAGE", problem);

/**
 * Throws ERR_ONEHOUR_USAGE for options of `callee` that are no object, for a key that it does not take, and for
 * a value that the option cannot have.
 */
export function requireOptions(given: object, callee: string, known: readonly string[]): void {
  if (Object.prototype.toString.call(given) !== "[object Object]")
    throw refuse(`${callee} takes options, { ${known.join(", ")} }, and not ${shown(given)}`);
  for (const [key, value] of Object.entries(given)) {
    if (!known.includes(key)) {
      const meant = Object.hasOwn(table, key)
        ? "it is a field of the recipe, the first argument"
        : (meaning(key, known, "fields") ?? `its options are ${known.join(", ")}`);
      throw refuse(`${callee} has no option ${shown(key)}; ${meant}`);
    }
    const kind = kinds[key as keyof TrainOptions] as Kind | undefined;
    if (value !== undefined && kind && !kind.fits(value))
      throw refuse(`${callee}: ${key} is ${shown(value)}; expected ${kind.expected}`);
  }
}

/** Checks the options of `callee`, and returns what shows and hands over a run's events. */
export function listenerOf(options: TrainOptions, callee: string): (event: RunEvent) => void {
  requireOptions(options, callee, Object.keys(kinds));
  const { output = process.stdout, onEvent } = options;
  const reporter = output === null ? undefined : new Reporter(output);
  return (event) => {
    reporter?.show(event);
    onEvent?.(event);
  };
}
