// Rounds of several contenders in turn, so that all meet the same machine.
import { median } from "../arrays/median.js";
import type { Contender, Round } from "./contender.js";

/** What a contender reached. */
export interface ContenderResult {
  name: string;
  workers: number;
  /** Median of the rounds, all workers together. */
  imagesPerSecond: number;
  /** Images per second of each round. */
  rounds: number[];
  /** Bytes per process: what the planner and the kernels asked for, and the largest resident size. */
  plannedBytes?: number;
  peakBytes: number;
}

export interface RaceOptions {
  /** Of a round; by default about three seconds' worth of the slowest contender's. */
  steps?: number | undefined;
  rounds?: number;
  /** Called before each round, counted from 1, and with 0 before a contender's warm-up. */
  onRound?: (round: number, contender: Contender) => void;
}

export const defaultRounds = 5;

const secondsOfRound = 3;

/** Warm-up, then the rounds: A B C, A B C, … The times are in the order of the contenders. */
export async function race(
  contenders: readonly Contender[],
  { steps: asked, rounds = defaultRounds, onRound = () => {} }: RaceOptions = {},
): Promise<{ steps: number; results: ContenderResult[]; times: Round[][] }> {
  let steps = asked ?? Number.POSITIVE_INFINITY;
  for (const contender of contenders) {
    onRound(0, contender);
    await contender.run(1);
    const { seconds } = await contender.run(1);
    if (asked === undefined)
      steps = Math.min(steps, Math.max(2, Math.round(secondsOfRound / seconds)));
  }
  const times: Round[][] = contenders.map(() => []);
  for (let round = 1; round <= rounds; round++) {
    for (const [i, contender] of contenders.entries()) {
      onRound(round, contender);
      times[i]!.push(await contender.run(steps));
    }
  }
  const results = contenders.map(({ name, workers, minibatch, plannedBytes }, i) => {
    const rates = times[i]!.map(({ seconds }) => (minibatch * steps) / seconds);
    return {
      ...{ name, workers, imagesPerSecond: median(rates), rounds: rates },
      ...(plannedBytes === undefined ? {} : { plannedBytes }),
      peakBytes: times[i]!.at(-1)!.peakBytes,
    };
  });
  return { steps, results, times };
}

/** onehour's rate over the other's, median of the rounds' ratios. */
export function ratioOf(results: readonly ContenderResult[]): number | undefined {
  const ours = results.find(({ name, workers }) => name === "onehour" && workers === 1);
  const theirs = results.find(({ name }) => name !== "onehour");
  return ours && theirs && median(ours.rounds.map((rate, round) => rate / theirs.rounds[round]!));
}
