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

const names: readonly (keyof TrainOptions)[] = ["world", "resume", "output", "onEvent"];

/** Throws ERR_ONEHOUR_USAGE for a key of `given` that `callee` does not take. */
export function requireOptions(given: object, callee: string, known: readonly string[]): void {
  const stranger = Object.keys(given ?? {}).find((key) => !known.includes(key));
  if (stranger === undefined) return;
  const meant = Object.hasOwn(table, stranger)
    ? "it is a field of the recipe, the first argument"
    : (meaning(stranger, known, "fields") ?? `its options are ${known.join(", ")}`);
  throw new UsageError("ERR_ONEHOUR_USAGE", `${callee} has no option ${shown(stranger)}; ${meant}`);
}

/** Checks the options of `callee`, and returns what shows and hands over a run's events. */
export function listenerOf(options: TrainOptions, callee: string): (event: RunEvent) => void {
  requireOptions(options, callee, names);
  const { output = process.stdout, onEvent } = options;
  const reporter = output === null ? undefined : new Reporter(output);
  return (event) => {
    reporter?.show(event);
    onEvent?.(event);
  };
}
