// Measures how fast the ranks of a world sum an array, size by size, with the formulas of nccl-tests.

import { median } from "../arrays/median.js";
import type { Device, DeviceArray, NativeCommunicator } from "../device/device.js";
import type { World } from "../ranks/world.js";

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

/** The number of elements that are not the sum over so many ranks. */
export function countWrong(sums: Float32Array, ranks: number): number {
  const base = (ranks * (ranks + 1)) / 2;
  return sums.reduce((wrong, value, i) => wrong + Number(value !== base + ranks * (i % 7)), 0);
}

/** The mean over the ranks of what each has measured. */
async function meanOf(world: World, value: number): Promise<number> {
  const all = await world.gather("mean", String(value));
  return all.reduce((sum, text) => sum + Number(text), 0) / all.length;
}

/** Seconds of one sum: so many are queued at once, as a training step queues its buckets. */
export async function secondsOf(
  communicator: NativeCommunicator,
  array: DeviceArray,
  repeats: number,
): Promise<number> {
  await communicator.barrier();
  const start = performance.now();
  await Promise.all(Array.from({ length: repeats }, () => communicator.allReduce(array)));
  return (performance.now() - start) / 1000 / repeats;
}

/** Every rank calls this alike; only what all could allocate is measured. */
async function measureSize(
  world: World,
  device: Device,
  communicator: NativeCommunicator,
  size: number,
): Promise<AllReduceRow> {
  const own = Float32Array.from({ length: size / 4 }, (_, i) => element(world.rank, i));
  const made = await device.array(own).then(
    (array) => ({ array, problem: "" }),
    (error: Error) => ({ array: undefined, problem: error.message, error }),
  );
  const problems = await world.gather("memory", made.problem);
  const short = problems.findIndex((problem) => problem !== "");
  if (short >= 0) {
    made.array?.dispose();
    if ("error" in made) throw made.error;
    throw new Error(`rank ${short} has no memory for ${size} bytes: ${problems[short]}`);
  }
  using array = made.array!;
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
 * @throws NativeError ERR_MEMORY where an array does not fit, ERR_COLLECTIVE where a rank is gone
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
