// The arithmetic of scaling: how a step's time splits up, and what of the ideal it reaches.
import { median } from "../arrays/median.js";
import type { Round } from "./contender.js";
import type { StepParts } from "./parts.js";

/** Where a step's time goes, in seconds; they sum to the step. */
export interface StepSplit {
  /** Forward and backward pass. */
  compute: number;
  /** By how much the step is longer than the same step with its collectives left out. */
  exposedCommunication: number;
  /** In which the device had nothing to do. */
  inputWait: number;
  /** The optimizer. */
  update: number;
}

/** What a number of workers reaches, beside its images per second. */
export interface Scaling {
  /** n: images of a worker's step. */
  batch: number;
  /** Median of the rounds. */
  stepSeconds: number;
  split: StepSplit;
  /** Images per second over those of one worker and the number of workers; absent where one was not measured. */
  efficiency?: number;
  /** Operations a second over the device's peak, of matrix products (MFU). */
  peakShare: number;
  /**
   * What is summed over the ranks, or would be over several, in the order of the program, and when it is
   * complete: seconds from the begin of the step without collectives.
   */
  buckets: { bytes: number; ready: number }[];
  /** Seconds of a step in each round, and of the same step with its collectives left out. */
  rounds: { step: number[]; withoutCollectives: number[]; inputWait: number[] };
}

export interface Measured {
  batch: number;
  /** Of a round. */
  steps: number;
  step: readonly Round[];
  /** The same step with its collectives left out; absent for one worker, which has none. */
  alone: readonly Round[] | undefined;
  /** The latter instruction by instruction. */
  parts: readonly StepParts[];
  /** Floating-point operations a second. */
  peak: number;
}

/** Splits the step up. A difference below nothing, which is noise, counts as nothing. */
export function scalingOf({ batch, steps, step, alone = step, parts, peak }: Measured): Scaling {
  const each = (rounds: readonly Round[]) => rounds.map(({ seconds }) => seconds / steps);
  const rounds = {
    step: each(step),
    withoutCollectives: each(alone),
    inputWait: step.map(({ inputWait = 0 }) => inputWait / steps),
  };
  const stepSeconds = median(rounds.step);
  const exposed = median(rounds.step.map((time, i) => time - rounds.withoutCollectives[i]!));
  const exposedCommunication = Math.max(0, exposed);
  const inputWait = Math.min(median(rounds.inputWait), stepSeconds - exposedCommunication);
  const busy = stepSeconds - exposedCommunication - inputWait;
  // Instructions timed one by one say what share of the time each has.
  const update = busy * median(parts.map((part) => part.update / part.seconds));
  return {
    batch,
    stepSeconds,
    split: { compute: busy - update, exposedCommunication, inputWait, update },
    buckets: parts[0]!.buckets.map(({ bytes }, i) => ({
      bytes,
      ready: busy * median(parts.map((part) => part.buckets[i]!.ready / part.seconds)),
    })),
    peakShare: parts[0]!.operations / (stepSeconds * peak),
    rounds,
  };
}
