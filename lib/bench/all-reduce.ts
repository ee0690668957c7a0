// Measures how fast the ranks of a world sum an array, size by size, with the formulas of nccl-tests.

import { median } from "../arrays/median.js";
import type { Device, DeviceArray, NativeCommunicator } from "../device/device.js";
import { OnehourError } from "../errors.js";
import type { World } from "../ranks/world.js";
import { count } from "../text/words.js";

/** One size, under the names of nccl-tests' columns. */
export interface AllReduceRow {
  /** Bytes of the array on each rank. */
  size: number;
  /** Its elements, of type float. */
  count: number;
  /** Microseconds of one sum, the median of the rounds, each the mean over the ranks. */
  time: number;
  /** GB/s: size / time. */
  algbw: number;
  /** GB/s: algbw · 2(k − 1)/k, which the slowest link of a ring carries whatever k is. */
  busbw: number;
  /** Elements that were not the sum, on all ranks together. */
  wrong: number;
}

const rounds = 5;
const secondsOfRound = 0.06;
const mostRepeats = 1000;

/** What busbw is of algbw (nccl-tests, doc/PERFORMANCE.md). */
export const busFactor = (ranks: number) => (2 * (ranks - 1)) / ranks;

/** Sizes from `least` to `most` bytes, each twice the one before. */
export function sizesBetween(least: number, most: number): number[] {
  const sizes: number[] = [];
  for (let size = least; size <= most; size *= 2) sizes.push(size);
  return sizes;
}

export function rowOf(size: number, seconds: number, wrong: number, ranks: number): AllReduceRow {
  const algbw = size / seconds / 1e9;
  const busbw = algbw * busFactor(ranks);
  return { size, count: size / 4, time: seconds * 1e6, algbw, busbw, wrong };
}

/** What rank r has at element i: whole numbers, whose sums are exact in f32. */
const element = (rank: number, i: number) => rank + 1 + (i % 7);

function elementsOf(rank: number, length: number): Float32Array {
  const elements = new Float32Array(length);
  for (let i = 0; i < length; i++) elements[i] = element(rank, i);
  return elements;
}

/** The number of elements that are not the sum over so many ranks. */
export function countWrong(sums: Float32Array, ranks: number): number {
  const base = (ranks * (ranks + 1)) / 2;
  let wrong = 0;
  // A callback for each of 67 million elements would take seconds.
  for (let i = 0; i < sums.length; i++) if (sums[i] !== base + ranks * (i % 7)) wrong++;
  return wrong;
}

/** The mean over the ranks of what each has measured. */
async function meanOf(world: World, value: number): Promise<number> {
  const all = await world.gather("mean", String(value));
  return all.reduce((sum, text) => sum + Number(text), 0) / all.length;
}

/** Seconds of one sum: so many are queued at once, as a training step queues its buckets. */
export async function secondsOf(
  communicator: NativeCommunicator,
  array: Float32Array | DeviceArray,
  repeats: number,
): Promise<number> {
  await communicator.barrier();
  const start = performance.now();
  await Promise.all(Array.from({ length: repeats }, () => communicator.allReduce(array)));
  return (performance.now() - start) / 1000 / repeats;
}

interface Allocated {
  own: Float32Array;
  array?: DeviceArray<Float32Array>;
  /** Why there is no array; empty where there is one. */
  problem: string;
}

/** A rank's elements on the host and on the device. */
async function allocate(device: Device, rank: number, size: number): Promise<Allocated> {
  let own: Float32Array = new Float32Array();
  try {
    own = elementsOf(rank, size / 4);
    return { own, array: await device.array(own), problem: "" };
  } catch (error) {
    return { own, problem: (error as Error).message };
  }
}

/** Every rank calls this alike; only what all could allocate is measured. */
async function measureSize(
  world: World,
  device: Device,
  communicator: NativeCommunicator,
  size: number,
): Promise<AllReduceRow> {
  const { own, array: made, problem } = await allocate(device, world.rank, size);
  const problems = await world.gather("memory", problem);
  const short = problems.findIndex((text) => text !== "");
  if (short >= 0) {
    made?.dispose();
    throw new OnehourError(
      "ERR_ONEHOUR_MEMORY",
      `rank ${short} has no room for ${count(size)} bytes, which it holds three times: ${problems[short]}. ` +
        "Measure smaller arrays, or fewer ranks on a machine",
    );
  }
  using array = made!;
  await communicator.allReduce(array);
  const wrong = countWrong(await array.read(), world.worldSize);
  await array.write(own.fill(0));
  const first = await meanOf(world, await secondsOf(communicator, array, 2));
  const repeats = Math.max(2, Math.min(mostRepeats, Math.round(secondsOfRound / first)));
  const times: number[] = [];
  for (let round = 0; round < rounds; round++)
    times.push(await meanOf(world, await secondsOf(communicator, array, repeats)));
  const all = (await meanOf(world, wrong)) * world.worldSize;
  return rowOf(size, median(times), Math.round(all), world.worldSize);
}

/**
 * Sums arrays of f32 in the memory of `device` over all ranks of a world, in place, checks each sum and times
 * it. Every rank calls it with the same sizes, in bytes, multiples of 4; all get the same rows. `onRow` is called
 * after each size.
 *
 * @throws OnehourError ERR_ONEHOUR_MEMORY where an array does not fit, NativeError ERR_COLLECTIVE where a rank is gone
 */
export async function measureAllReduce(
  world: World,
  device: Device,
  communicator: NativeCommunicator,
  sizes: readonly number[],
  onRow: (row: AllReduceRow) => void = () => {},
): Promise<AllReduceRow[]> {
  const rows: AllReduceRow[] = [];
  for (const size of sizes) {
    const row = await measureSize(world, device, communicator, size);
    rows.push(row);
    onRow(row);
  }
  return rows;
}
