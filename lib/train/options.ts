// The options of `train` and `Trainer`, besides the recipe.

import type { Writable } from "node:stream";
import { UsageError } from "../errors.js";
import type { ClusterOptions } from "../ranks/cluster-options.js";
import type { World } from "../ranks/world.js";
import { requireOptions } from "../recipe/options.js";
import { table } from "../recipe/table.js";
import type { Resume } from "../run-folder/run-folder.js";
import { shown } from "../text/words.js";
import type { RunEvent } from "./events.js";
import { Reporter } from "./reporter.js";

export interface TrainOptions {
  /** The ranks to train with, where the script has met them with connect() already. */
  world?: World;
  /**
   * Continue the run in the recipe's `out` from its last checkpoint; "auto" continues it if there is one, and
   * starts it otherwise.
   */
  resume?: Resume;
  /** The machines to train on, on each of which the script runs; this one alone by default. */
  cluster?: ClusterOptions;
  /** Where lines and progress go; standard output by default, null for nowhere. */
  output?: (Writable & { isTTY?: boolean }) | null;
  /** Called with what happens: every step, epoch and message, and the end. Only where rank 0 is seen. */
  onEvent?: (event: RunEvent) => void;
}

/** Those of a script's own loop, whose ranks the script meets itself. */
export type LoopOptions = Omit<TrainOptions, "cluster">;

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
  resume: {
    expected: 'true, false or "auto"',
    fits: (value) => typeof value === "boolean" || value === "auto",
  },
  cluster: {
    expected: 'an object, such as { nodes: 2, nodeRank: 0, rendezvous: "node0:29500" }',
    fits: (value) => Object.prototype.toString.call(value) === "[object Object]",
  },
  output: {
    expected: "a stream to write to, or null",
    fits: (value) => value === null || can(value, "write"),
  },
  onEvent: { expected: "a function", fits: (value) => typeof value === "function" },
};

const names = Object.keys(kinds) as (keyof TrainOptions)[];

export const loopNames = names.filter((name) => name !== "cluster");

const ofRecipe = (key: string) =>
  Object.hasOwn(table, key) ? "it is a field of the recipe, the first argument" : undefined;

/** Throws ERR_ONEHOUR_USAGE for an option of `callee` that it does not take, or of a value that cannot be. */
export function requireTrainOptions(options: TrainOptions, callee: string, known = names): void {
  requireOptions(options, callee, known, ofRecipe);
  for (const name of known) {
    const value = options[name];
    if (value !== undefined && !kinds[name].fits(value))
      throw new UsageError(
        "ERR_ONEHOUR_USAGE",
        `${callee}: ${name} is ${shown(value)}; expected ${kinds[name].expected}`,
      );
  }
}

/** Checks the options of `callee`, and returns what shows and hands over a run's events. */
export function listenerOf(
  options: TrainOptions,
  callee: string,
  known = names,
): (event: RunEvent) => void {
  requireTrainOptions(options, callee, known);
  const { output = process.stdout, onEvent } = options;
  const reporter = output === null ? undefined : new Reporter(output);
  return (event) => {
    reporter?.show(event);
    onEvent?.(event);
  };
}
