// Which images each worker sees in which step: one order an epoch, divided among the workers.

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
  /** Images of each shard, where the training set's order is that of `shardOrder`. */
  shards?: readonly number[] | undefined;
  /** "global" where left out. */
  shuffle?: Shuffle | undefined;
}

/**
 * Whose orders an epoch has. "global": one, divided among the workers (paper, remark 4). "worker": each worker draws
 * its own, of all images, and goes through the first k-th of it; some images are then taken more than once in an
 * epoch, and others not at all.
 */
export const shuffles = ["global", "worker"] as const;
export type Shuffle = (typeof shuffles)[number];

/** Shards that are shuffled together, image by image. */
export const windowShards = 16;

/** A uniform permutation of 0 … length − 1. */
function shuffled(length: number, random: Random): Uint32Array {
  const order = new Uint32Array(length);
  for (let i = 0; i < length; i++) {
    const j = random.below(i + 1);
    order[i] = order[j]!;
    order[j] = i;
  }
  return order;
}

/**
 * The order of an epoch: a uniform permutation of 0 … images − 1 that depends on seed and epoch, and on
 * the worker where each has its own.
 */
export function permutation(images: number, seed: number, epoch: number, worker = 0): Uint32Array {
  return shuffled(images, new Random(seed, Purpose.order, epoch, worker));
}

/**
 * The order of an epoch of images in consecutive shards, `shards[i]` images each, that are to be read
 * in sequence: the shards are permuted, divided into windows of `window` or fewer, as even as may be,
 * and the images of a window are permuted together. Depends on seed and epoch alone, and on the worker
 * where each has its own. This is weaker
 * than the one permutation of all images that the paper asks for (remark 4), unless one window
 * covers all shards: images of shards that are far apart in an epoch meet in no step.
 */
export function shardOrder(
  shards: readonly number[],
  seed: number,
  epoch: number,
  window = windowShards,
  worker = 0,
): Uint32Array {
  const random = new Random(seed, Purpose.order, epoch, worker);
  const starts = [0];
  for (const [i, images] of shards.entries()) starts.push(starts[i]! + images);
  const order = new Uint32Array(starts.at(-1)!);
  const drawn = shuffled(shards.length, random);
  const windows = Math.ceil(shards.length / window);
  let filled = 0;
  for (let w = 0; w < windows; w++) {
    const first = Math.floor((w * shards.length) / windows);
    const end = Math.floor(((w + 1) * shards.length) / windows);
    const images: number[] = [];
    for (const shard of drawn.subarray(first, end)) {
      for (let image = starts[shard]!; image < starts[shard + 1]!; image++) images.push(image);
    }
    for (const i of shuffled(images.length, random)) order[filled++] = images[i]!;
  }
  return order;
}

/**
 * Divides each epoch's order, a permutation of all images or for shards a weaker one, into steps of
 * kn images, and each step into k·a groups of n: worker r's micro-batch j is group j·k + r, so the
 * groups do not depend on how kn is split. Where each worker has an order of its own, a step takes a·n
 * images of each, and the groups depend on k.
 */
export class Sampler {
  /** k */
  readonly workers: number;
  /** Images of a step, kn. */
  readonly minibatch: number;
  /** floor(images / kn). */
  readonly stepsPerEpoch: number;
  /** Images of an epoch that no step takes, of one order. */
  readonly remainder: number;
  private epoch = -1;
  private worker = -1;
  private order: Uint32Array = new Uint32Array(0);

  constructor(private readonly options: SamplerOptions) {
    this.workers = options.workers;
    this.minibatch = options.workers * options.accumulate * options.batch;
    this.stepsPerEpoch = Math.floor(options.images / this.minibatch);
    this.remainder = options.images - this.stepsPerEpoch * this.minibatch;
  }

  /** Indices of the n images of micro-batch `micro` of worker `rank` in step `step` of the run. */
  group(step: number, rank: number, micro: number): Uint32Array {
    const { workers, accumulate, batch, shuffle } = this.options;
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const within = step - epoch * this.stepsPerEpoch;
    const isOwn = shuffle === "worker";
    this.draw(epoch, isOwn ? rank : 0);
    const group = isOwn
      ? within * accumulate + micro
      : (within * accumulate + micro) * workers + rank;
    return this.order.subarray(group * batch, (group + 1) * batch);
  }

  /** Images that no step of an epoch takes, counted. */
  unseen(epoch: number): number {
    const { images, workers, accumulate } = this.options;
    const seen = new Uint8Array(images);
    for (let rank = 0; rank < workers; rank++)
      for (let step = 0; step < this.stepsPerEpoch; step++)
        for (let micro = 0; micro < accumulate; micro++)
          for (const image of this.group(epoch * this.stepsPerEpoch + step, rank, micro))
            seen[image] = 1;
    return images - seen.reduce((sum, one) => sum + one, 0);
  }

  private draw(epoch: number, worker: number): void {
    if (epoch === this.epoch && worker === this.worker) return;
    const { images, seed, shards } = this.options;
    this.order = shards
      ? shardOrder(shards, seed, epoch, windowShards, worker)
      : permutation(images, seed, epoch, worker);
    this.epoch = epoch;
    this.worker = worker;
  }
}
