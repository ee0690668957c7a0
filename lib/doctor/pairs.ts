// Measures how fast each two ranks exchange: one pair after the other, so that no two share a network.
import { median } from "../arrays/median.js";
import { secondsOf } from "../bench/all-reduce.js";
import type { NativeCommunicator } from "../device/device.js";
import { openDevice } from "../device/open.js";
import { introduce } from "../ranks/introduce.js";
import type { World } from "../ranks/world.js";

/** Two ranks, by their numbers. */
export interface PairRate {
  ranks: [number, number];
  /** Bytes a second of an all-reduce of 16 MiB, which each sends and receives once. */
  bandwidth: number;
  /** Seconds of the smallest all-reduce. */
  latency: number;
  /** What the CPU's sums go through: "shared memory", "Unix socket", "TCP to 10.0.0.2:4000". */
  transport: string;
}

const largeBytes = 2 ** 24;
const largeRounds = 5;
const smallRounds = 50;
const secondsToWait = 20;

/** Every pair of so many ranks. */
export const pairsOf = (ranks: number): [number, number][] =>
  Array.from({ length: ranks }, (_, first) => first).flatMap((first) =>
    Array.from({ length: ranks - first - 1 }, (_, i): [number, number] => [first, first + 1 + i]),
  );

/** Seconds of one all-reduce of a number of floats, the median of some. */
async function time(communicator: NativeCommunicator, floats: number, rounds: number) {
  const data = new Float32Array(floats);
  await communicator.allReduce(data);
  const seconds: number[] = [];
  for (let round = 0; round < rounds; round++) seconds.push(await secondsOf(communicator, data, 1));
  return median(seconds);
}

/** The rates of pairs of ranks on their CPUs, by default of all pairs; every rank calls it, and gets all. */
export async function pairRates(
  world: World,
  hosts: readonly string[],
  pairs = pairsOf(world.worldSize),
): Promise<PairRate[]> {
  using device = openDevice({ device: "cpu", threads: 1 });
  const rates: PairRate[] = [];
  for (const pair of pairs) {
    const across = hosts[pair[0]] !== hosts[pair[1]];
    const [place, name] = [pair.indexOf(world.rank), `pair ${pair.join(" ")}`];
    const communicator =
      place < 0 ? undefined : device.createCommunicator(place, 2, secondsToWait, across, name);
    await introduce(communicator, world, name, pair);
    let own = "";
    if (communicator !== undefined) {
      const latency = await time(communicator, 1, smallRounds);
      const seconds = await time(communicator, largeBytes / 4, largeRounds);
      const transport = communicator.linkTo(1 - place);
      own = JSON.stringify({ ranks: pair, bandwidth: largeBytes / seconds, latency, transport });
    }
    const told = await world.gather(`rate ${pair.join(" ")}`, own);
    rates.push(JSON.parse(told[pair[0]]!) as PairRate);
    communicator?.abort();
  }
  return rates;
}
