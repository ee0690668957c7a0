// The minibatch of a recipe: kn = workers × accumulate × batch images a step, named either way.

import { plural } from "../text/words.js";
import { refuse } from "./fields.js";
import { nameOf, setting } from "./voice.js";

/** The fields that make up a minibatch. */
export interface MinibatchFields {
  workers: number;
  /** Images n per worker and micro-batch. */
  batch: number;
  /** Micro-batches a of a step. */
  accumulate?: number | undefined;
  /** Images kn of a step. */
  minibatch?: number | undefined;
}

const either = (values: readonly (number | undefined)[]) =>
  values.filter((value) => value !== undefined).join(" or ");

/** The divisors of `whole` next to `near`: the largest up to it and the smallest above. */
function divisorsNear(whole: number, near: number): (number | undefined)[] {
  const divides = (size: number) => whole % size === 0;
  let below = Math.min(near, whole);
  while (!divides(below)) below--;
  let above = near + 1;
  while (above <= whole && !divides(above)) above++;
  return [below, above <= whole ? above : undefined];
}

/**
 * Micro-batches a of a step, from `minibatch` where it is given, else `accumulate` or 1. Throws
 * ERR_ONEHOUR_RECIPE for a minibatch of more than the data set's `images`, for one that k workers
 * with n images cannot make up, with those next to it, and for one that `accumulate` contradicts.
 */
export function microBatches(fields: MinibatchFields, images: number): number {
  const { workers, batch, accumulate, minibatch } = fields;
  if (minibatch === undefined) return accumulate ?? 1;
  const together = workers * batch;
  const largest = Math.floor(images / together) * together;
  if (minibatch > images) {
    throw refuse(
      "minibatch",
      `there ${images === 1 ? "is" : "are"} ${plural(images, "training image")}, fewer than ${minibatch}; ` +
        (largest > 0 ? `expected at most ${largest} here` : "expected fewer workers"),
    );
  }
  if (minibatch % together !== 0) {
    const below = Math.floor(minibatch / together) * together;
    const sizes = [below, below + together].filter((size) => size > 0 && size <= largest);
    const batches =
      minibatch % workers === 0
        ? `; or try ${nameOf("batch")} ${either(divisorsNear(minibatch / workers, batch))}`
        : `; no ${nameOf("batch")} makes ${plural(workers, "worker")} have as many each`;
    throw refuse(
      "minibatch",
      `${plural(minibatch, "image")} ${minibatch === 1 ? "is" : "are"} not a multiple of workers × batch = ${workers} × ${batch} = ` +
        `${together}; expected ${either(sizes) || "fewer workers"}${batches}`,
    );
  }
  const wanted = minibatch / together;
  if (accumulate !== undefined && accumulate !== wanted) {
    throw refuse(
      "minibatch",
      `${plural(minibatch, "image")} ${minibatch === 1 ? "needs" : "need"} ${setting("accumulate", wanted)} (${workers} × ${wanted} × ${batch}), but ` +
        `${accumulate} was asked for as well; leave one of them out`,
    );
  }
  return wanted;
}
