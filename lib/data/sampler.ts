// Which images each worker sees in which step: one permutation an epoch, divided among the workers.

import { Purpose, Random } from "./random.js";

export interface SamplerOptions {
  /** Images of the training set. */
  images: number;
  /** Workers k. */
  workers: number;
  /** Micro-batches a of a step. */
  accumulate: number;
  /** Images n of a worker's micro-batch. */
  batch: number;
  seed: number;
}

/** The order of an epoch: a uniform permutation of 0 … images − 1 that depends on seed and epoch. */
export function permutation(images: number, seed: number, epoch: number): Uint32Array {
  const order = new Uint32Array(images);
  const random = new Random(seed, Purpose.order, epoch);
  for (let i = 0; i < images; i++) {
    const j = random.below(i + 1);
    order[i] = order[j]!;
    order[j] = i;
  }
  return order;
}

/**
 * Divides each epoch's permutation into steps of kn images, and each step into k·a groups of n:
 * worker r's micro-batch j is group j·k + r, so the groups do not depend on how kn is split.
 */
export class Sampler {
  /** Images of a step, kn. */
  readonly minibatch: number;
  /** floor(images / kn). */
  readonly stepsPerEpoch: number;
  /** Images of an epoch that no step takes. */
  readonly remainder: number;
  private epoch = -1;
  private order: Uint32Array = new Uint32Array(0);

  constructor(private readonly options: SamplerOptions) {
    this.minibatch = options.workers * options.accumulate * options.batch;
    this.stepsPerEpoch = Math.floor(options.images / this.minibatch);
    this.remainder = options.images - this.stepsPerEpoch * this.minibatch;
  }

  /** Indices of the n images of micro-batch `micro` of worker `rank` in step `step` of the run. */
  group(step: number, rank: number, micro: number): Uint32Array {
    const { images, workers, batch, seed } = this.options;
    const epoch = Math.floor(step / this.stepsPerEpoch);
    if (epoch !== this.epoch) {
      this.order = permutation(images, seed, epoch);
      this.epoch = epoch;
    }
    const start =
      (step - epoch * this.stepsPerEpoch) * this.minibatch + (micro * workers + rank) * batch;
    return this.order.subarray(start, start + batch);
  }
}
