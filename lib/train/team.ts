// The ranks of a run as training sees them: what is asked of the others between steps.

import type { Device, NativeCommunicator } from "../device/device.js";
import type { World } from "../ranks/connect.js";

export interface Team {
  readonly rank: number;
  readonly size: number;
  /** Ranks on this machine. */
  readonly localSize: number;
  /** The texts of all ranks in rank order; every rank must call it under the same key. */
  gather(key: string, value: string): Promise<string[]>;
  /** Tells all other ranks, who hear it before the end of what they gather next with this one. */
  announce(key: string, value: string): void;
  /** Hands over what other ranks announce, until the function that it returns is called. */
  listen(key: string, listener: (value: string) => void): () => void;
  /** Sums f64 values over the ranks, in place. */
  sum(values: Float64Array): Promise<void>;
  /** Every rank's values in rank order, of the same length on all. */
  allGather(values: Float32Array): Promise<Float32Array[]>;
  /** Copies rank 0's values over those of every rank. */
  broadcast(values: Float32Array): Promise<void>;
  /** Communicators that programs on `device` name; "statistics" joins groups of `groupSize`. */
  communicators(groupSize: number, device: Device): Promise<Record<string, NativeCommunicator>>;
}

/** One rank by itself. */
export const alone: Team = {
  rank: 0,
  size: 1,
  localSize: 1,
  gather: async (_, value) => [value],
  announce: () => {},
  listen: () => () => {},
  sum: async () => {},
  allGather: async (values) => [values],
  broadcast: async () => {},
  communicators: async () => ({}),
};

/** The ranks of a world. */
export function teamOf(world: World): Team {
  if (world.worldSize === 1) return alone;
  return {
    rank: world.rank,
    size: world.worldSize,
    localSize: world.localWorldSize,
    gather: async (key, value) =>
      (await world.rendezvous.gather(key, value)).map((bytes) => bytes.toString()),
    announce: (key, value) => world.rendezvous.announce(key, value),
    listen: (key, listener) => world.rendezvous.listen(key, listener),
    sum: async (values) => {
      await world.allReduce(values);
    },
    allGather: (values) => world.allGather(values),
    broadcast: async (values) => {
      await world.broadcast(values);
    },
    communicators: async (groupSize, device) => {
      const make = (name: string, size: number) => world.communicator(name, size, device);
      const gradients = await make("gradients", world.worldSize);
      return groupSize > 1
        ? { gradients, statistics: await make("statistics", groupSize) }
        : { gradients };
    },
  };
}
