// The learning rate of every step, and the momentum factor that goes with it.

import type { MomentumRule } from "../ops/optimizers/optimizer.js";

/** What the schedule of a run follows from. */
export interface ScheduleOptions {
  /** Reference learning rate at 256 images. */
  lr: number;
  /** Images kn of a step. */
  minibatch: number;
  /** Steps of an epoch, floor(images / kn). */
  stepsPerEpoch: number;
  /** Length of the schedule, fractional or not. */
  epochs: number;
  warmup: keyof typeof warmups;
  /** Epochs of warm-up, fractional or not. */
  warmupEpochs: number;
  /** Epochs from whose first step on the rate of the schedule `step` is ten times smaller. */
  milestones: readonly number[];
}

/** The schedule of a run with these recipe fields, minibatch and steps of an epoch. */
export function scheduleOf(
  recipe: Omit<ScheduleOptions, "minibatch" | "stepsPerEpoch">,
  { minibatch, stepsPerEpoch }: Pick<ScheduleOptions, "minibatch" | "stepsPerEpoch">,
): ScheduleOptions {
  const { lr, epochs, warmup, warmupEpochs, milestones } = recipe;
  return { lr, minibatch, stepsPerEpoch, epochs, warmup, warmupEpochs, milestones };
}

/** Learning rate of step i, from 0. */
export type Schedule = (step: number) => number;

/** Images at which `lr` is the peak rate (paper, section 2.1). */
export const referenceMinibatch = 256;

/** The linear scaling rule: lr·kn/256 (paper, section 2.1). */
export function peakLearningRate(lr: number, minibatch: number): number {
  return (lr * minibatch) / referenceMinibatch;
}

/** Number of steps i with i / stepsPerEpoch < epochs; the epochs' last step is the one before. */
export function stepsOf(epochs: number, stepsPerEpoch: number): number {
  return Math.ceil(epochs * stepsPerEpoch - 1e-9 * stepsPerEpoch);
}

/** Default milestones at 1/3, 2/3 and 8/9 of the epochs: 30, 60 and 80 of 90. */
export function defaultMilestones(epochs: number): number[] {
  return [epochs / 3, (2 * epochs) / 3, (8 * epochs) / 9];
}

/** Steps of warm-up; none where the minibatch is at most the reference's 256 images. */
export function warmupSteps(options: ScheduleOptions): number {
  const { warmup, minibatch, warmupEpochs, stepsPerEpoch } = options;
  if (warmup === "none" || minibatch <= referenceMinibatch) return 0;
  return stepsOf(warmupEpochs, stepsPerEpoch);
}

/** Rate after the fraction `done` of a warm-up from `lr` to `peak` (paper, section 2.2). */
export const warmups = {
  gradual: (lr, peak, done) => lr + (peak - lr) * done,
  constant: (lr) => lr,
  none: (_, peak) => peak,
} satisfies Record<string, (lr: number, peak: number, done: number) => number>;

/** The rate that the warm-up has come to at a step; the peak from its end on. */
export function warmedUp(options: ScheduleOptions): Schedule {
  const { lr, minibatch } = options;
  const peak = peakLearningRate(lr, minibatch);
  const steps = warmupSteps(options);
  return (step) => (step < steps ? warmups[options.warmup](lr, peak, step / steps) : peak);
}

/** A step after the warm-up, and what its rate may depend on. */
export interface StepInfo {
  /** i, from 0 at the start of the run. */
  step: number;
  /** Epochs done before it, fractional. */
  epoch: number;
  /** T: steps of all epochs, and W: those of the warm-up. */
  steps: number;
  warmupSteps: number;
  /** Share of the steps after the warm-up that are done, (i − W)/(T − W): from 0 to less than 1. */
  done: number;
  stepsPerEpoch: number;
  epochs: number;
  /** The rate at the warm-up's end, lr·kn/256. */
  peak: number;
  /** Reference learning rate at 256 images. */
  lr: number;
  /** Images kn of a step. */
  minibatch: number;
}

/** Makes the schedule of a run. */
export type ScheduleBuilder = (options: ScheduleOptions) => Schedule;

/** A schedule that follows `rate` from the end of the warm-up on. */
export function afterWarmup(rate: (info: StepInfo) => number): ScheduleBuilder {
  return (options) => {
    const { lr, minibatch, stepsPerEpoch, epochs } = options;
    const warm = warmedUp(options);
    const W = warmupSteps(options);
    const T = stepsOf(epochs, stepsPerEpoch);
    const peak = peakLearningRate(lr, minibatch);
    const run = { steps: T, warmupSteps: W, stepsPerEpoch, epochs, peak, lr, minibatch };
    return (step) =>
      step < W
        ? warm(step)
        : rate({ ...run, step, epoch: step / stepsPerEpoch, done: (step - W) / (T - W) });
  };
}

/**
 * The factor c_t on the old velocity: η_t / η_{t−1} in the velocity form with momentum correction
 * (paper, remark 2), 1 at step 0, in the gradient form, without correction, and after a rate of 0.
 * `previous` is η_{t−1}, undefined at step 0.
 */
export function momentumFactor(
  options: Pick<MomentumRule, "momentumForm" | "momentumCorrection">,
  learningRate: number,
  previous: number | undefined,
): number {
  if (options.momentumForm === "gradient" || !options.momentumCorrection) return 1;
  return previous ? learningRate / previous : 1;
}
