// Where a run stands: reads it from a checkpoint's metadata, and checks that a run can stand there.

import { isScale, type Scaling } from "../ops/loss-scale.js";
import type { Schedule } from "../schedules/schedule.js";
import { plural, shown } from "../text/words.js";
import { refuseFile } from "./refuse-file.js";

/** Where a run stands, without its tensors. */
export interface Position {
  /** Steps done. */
  step: number;
  /** Epoch of the last step done. */
  epoch: number;
  /** η of the last step done; undefined before the first. */
  lastLearningRate: number | undefined;
  seed: number;
  /** Sum of the losses of that epoch's steps so far. */
  lossSum: number;
  /** Sum of their top1; undefined where an earlier version began the epoch. */
  top1Sum?: number | undefined;
  /** Seconds that epoch took so far. */
  epochSeconds: number;
  /** Seconds the run took so far. */
  seconds: number;
  /** Where loss scaling stands, once a step in fp16 is done. */
  scaling?: Scaling | undefined;
  /** Of the gradient noise scale, where it is measured. */
  noise?: NoiseSums | undefined;
}

/** Sums over the steps so far for the gradient noise scale, of which each counts less than the next. */
export interface NoiseSums {
  /** Of S, the trace of the covariance of one image's gradient. */
  noiseSum: number;
  /** Of |G|², the square of the gradient over all images there could be. */
  signalSum: number;
}

/** Each field as text; a rate that is not known is left out. */
export function formatPosition({ scaling, noise, ...position }: Position): Record<string, string> {
  const all = { ...position, ...scaling, ...noise };
  const known = Object.entries(all).filter(([, value]) => value !== undefined);
  return Object.fromEntries(known.map(([key, value]) => [key, String(value)]));
}

const decimal = /^\d+(\.\d+)?(e[+-]\d+)?$/;

const kinds = {
  count: {
    pattern: /^(0|[1-9]\d*)$/,
    holds: Number.isSafeInteger,
    words: "a whole number of 0 or more",
  },
  amount: { pattern: decimal, holds: Number.isFinite, words: "a number of 0 or more" },
  signed: {
    pattern: /^-?\d+(\.\d+)?(e[+-]\d+)?$/,
    holds: Number.isFinite,
    words: "a number",
  },
  scale: { pattern: decimal, holds: isScale, words: "a power of two from 2^-126 to 2^127" },
};

/** What `formatPosition` wrote; ERR_ONEHOUR_CHECKPOINT for anything else. */
export function parsePosition(file: string, metadata: Readonly<Record<string, string>>): Position {
  const read = (
    key: keyof Position | keyof Scaling | keyof NoiseSums,
    kind: keyof typeof kinds,
  ): number => {
    const { pattern, holds, words } = kinds[kind];
    const text = Object.hasOwn(metadata, key) ? metadata[key]! : undefined;
    if (text === undefined) {
      throw refuseFile(file, `its ${key} is missing`, "expected a checkpoint of onehour train");
    }
    const value = Number(text);
    if (!pattern.test(text) || !holds(value)) {
      throw refuseFile(file, `its ${key} is ${shown(text)}`, `expected ${words}`);
    }
    return value;
  };
  const step = read("step", "count");
  return {
    step,
    epoch: read("epoch", "count"),
    lastLearningRate: step === 0 ? undefined : read("lastLearningRate", "amount"),
    seed: read("seed", "count"),
    lossSum: read("lossSum", "amount"),
    ...(Object.hasOwn(metadata, "top1Sum") ? { top1Sum: read("top1Sum", "amount") } : {}),
    epochSeconds: read("epochSeconds", "amount"),
    seconds: read("seconds", "amount"),
    ...(Object.hasOwn(metadata, "lossScale") ? { scaling: readScaling(read) } : {}),
    ...(Object.hasOwn(metadata, "noiseSum")
      ? { noise: { noiseSum: read("noiseSum", "signed"), signalSum: read("signalSum", "signed") } }
      : {}),
  };
}

const readScaling = (read: (key: keyof Scaling, kind: "count" | "scale") => number): Scaling => ({
  lossScale: read("lossScale", "scale"),
  goodSteps: read("goodSteps", "count"),
  skipped: read("skipped", "count"),
});

/** What a position is checked against. */
export interface Course {
  stepsPerEpoch: number;
  /** Steps of all epochs of the schedule; infinite where a script takes as many as it likes. */
  steps: number;
  /** Undefined where a script chooses the rates. */
  schedule: Schedule | undefined;
  seed: number;
}

/** Throws ERR_ONEHOUR_CHECKPOINT unless a run of that course stands there after some step. */
export function requireOnCourse(
  file: string,
  { step, epoch, lastLearningRate, seed: ownSeed }: Position,
  { stepsPerEpoch, steps, schedule, seed }: Course,
): void {
  const last = Math.max(0, step - 1);
  const expected = {
    epoch: Math.floor(last / stepsPerEpoch),
    "last learning rate": schedule && step > 0 ? schedule(last) : lastLearningRate,
    seed,
  };
  const found = { epoch, "last learning rate": lastLearningRate, seed: ownSeed };
  const advice = "expected a checkpoint of this run";
  if (step > steps) {
    throw refuseFile(
      file,
      `its step is ${step}, but the run has ${plural(steps, "step")} in all`,
      advice,
    );
  }
  for (const [what, value] of Object.entries(expected)) {
    const given = found[what as keyof typeof found];
    if (given === value) continue;
    throw refuseFile(
      file,
      `its ${what} is ${given}, but after ${plural(step, "step")} this run's is ${value}`,
      advice,
    );
  }
}
