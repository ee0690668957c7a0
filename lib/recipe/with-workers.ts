// Another number of workers for a run: its steps keep their images, its schedule, and what batch norm's
// statistics are taken over.

import { plural } from "../text/words.js";
import { type RecipeInput, refuse } from "./fields.js";
import { setting } from "./voice.js";

/** The fields that say how a step's images and statistics are shared among the workers. */
export const sharedFields = [
  "workers",
  "accumulate",
  "syncBatchNorm",
  "preciseBatchNorm",
  "shuffle",
] as const satisfies (keyof RecipeInput)[];

type Shares = Pick<RecipeInput, (typeof sharedFields)[number]>;

/** The shares of a run, with what a recipe without them has. */
const sharesOf = (recipe: Shares) => ({
  workers: recipe.workers ?? 1,
  accumulate: recipe.accumulate ?? 1,
  /** Workers of a group of synchronised batch norm; −1 for all. */
  group: recipe.syncBatchNorm ?? 0,
  /** Batches a worker of precise batch norm; −1 where none were counted yet. */
  batches: recipe.preciseBatchNorm ?? 0,
});

/** What keeps a run from having k workers: the field, and the problem in words; undefined where nothing does. */
function obstacle(recipe: Shares, k: number): [field: keyof Shares, problem: string] | undefined {
  const { workers, accumulate, group, batches } = sharesOf(recipe);
  if (k === workers) return undefined;
  const asked = `and ${k} ${k === 1 ? "was" : "were"} asked for`;
  if (recipe.shuffle === "worker") {
    const all = `each of the ${plural(workers, "worker")} of this run has an order of its own`;
    return [
      "shuffle",
      `${workers === 1 ? "the worker of this run has an order of its own" : all}, ${asked}`,
    ];
  }
  if ((workers * accumulate) % k !== 0) {
    const parts = `${workers} × ${accumulate} = ${plural(workers * accumulate, "micro-batch")}`;
    return ["workers", `${plural(k, "worker")} cannot share the ${parts} of a step of this run`];
  }
  if (group < 0) {
    const all = `this run's statistics are over all its ${plural(workers, "worker")}`;
    return ["syncBatchNorm", `${all}, ${asked}`];
  }
  if (group > 0 && k % group !== 0) {
    const parts = `${plural(k, "worker")} cannot be divided into groups of ${group}`;
    return ["syncBatchNorm", `${parts}, as the ${workers} of this run are`];
  }
  if (batches > 0 && (batches * workers) % k !== 0) {
    const all = `${workers} × ${batches} = ${plural(workers * batches, "batch")}`;
    return ["preciseBatchNorm", `${plural(k, "worker")} cannot share the ${all} of this run`];
  }
  return undefined;
}

/** The numbers of workers that a run may have, ascending; its own is among them. */
export function possibleWorkers(recipe: Shares): number[] {
  const { workers, accumulate } = sharesOf(recipe);
  const counts = Array.from({ length: workers * accumulate }, (_, i) => i + 1);
  return counts.filter((k) => obstacle(recipe, k) === undefined);
}

/**
 * The recipe of a run for k workers: workers × accumulate stays, so that each step has the same images in the
 * same micro-batches; groups of synchronised batch norm keep their size, and precise batch norm its batches in
 * all. Throws ERR_ONEHOUR_RECIPE, naming both numbers and those that are possible, where that cannot be.
 */
export function withWorkers<R extends Shares>(recipe: R, k: number): R {
  const { workers, accumulate, batches } = sharesOf(recipe);
  const problem = obstacle(recipe, k);
  if (problem) {
    const [field, text] = problem;
    const possible = possibleWorkers(recipe).map((count) => setting("workers", count));
    throw refuse(field, `${text}; expected ${possible.join(" or ")}`);
  }
  if (k === workers) return recipe;
  return {
    ...recipe,
    workers: k,
    accumulate: (workers * accumulate) / k,
    ...(batches > 0 ? { preciseBatchNorm: (batches * workers) / k } : {}),
  };
}
