// The learning rate of every step, and the momentum factor that goes with it.

/** What the schedule of a run follows from. */
export interface ScheduleOptions {
  /** Reference learning rate at 256 images. */
  lr: number;
  /** Images kn of a step. */
  minibatch: number;
  /** Steps of an epoch, floor(images / kn). */
  stepsPerEpoch: number;
  warmup: "gradual" | "constant" | "none";
  /** Epochs of warm-up, fractional or not. */
  warmupEpochs: number;
  /** Epochs from whose first step on the rate is ten times smaller. */
  milestones: readonly number[];
}

/** The schedule of a run with these recipe fields, minibatch and steps of an epoch. */
export function scheduleOf(
  recipe: Pick<ScheduleOptions, "lr" | "warmup" | "warmupEpochs" | "milestones">,
  { minibatch, stepsPerEpoch }: Pick<ScheduleOptions, "minibatch" | "stepsPerEpoch">,
): ScheduleOptions {
  const { lr, warmup, warmupEpochs, milestones } = recipe;
  return { lr, minibatch, stepsPerEpoch, warmup, warmupEpochs, milestones };
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

type Warmup = (lr: number, peak: number, done: number) => number;

/** Rate after the fraction `done` of a warm-up from `lr` to `peak` (paper, section 2.2). */
export const warmups: Record<ScheduleOptions["warmup"], Warmup> = {
  gradual: (lr, peak, done) => lr + (peak - lr) * done,
  constant: (lr) => lr,
  none: (_, peak) => peak,
};

/** Linear scaling, warm-up per step, and a division by ten at each milestone (paper, section 5.1). */
export function stepSchedule(options: ScheduleOptions): Schedule {
  const { lr, minibatch, stepsPerEpoch, milestones } = options;
  const peak = peakLearningRate(lr, minibatch);
  const steps = warmupSteps(options);
  const drops = milestones.map((epoch) => stepsOf(epoch, stepsPerEpoch));
  return (step) => {
    const rate = step < steps ? warmups[options.warmup](lr, peak, step / steps) : peak;
    return rate / 10 ** drops.filter((drop) => step >= drop).length;
  };
}

/**
 * The factor c_t on the old velocity: η_t / η_{t−1} in the velocity form with momentum correction
 * (paper, remark 2), 1 at step 0, in the gradient form, and without correction. `previous` is
 * η_{t−1}, undefined at step 0.
 */
export function momentumFactor(
  options: { momentumForm: "gradient" | "velocity"; momentumCorrection: boolean },
  learningRate: number,
  previous: number | undefined,
): number {
  if (options.momentumForm === "gradient" || !options.momentumCorrection) return 1;
  return previous === undefined ? 1 : learningRate / previous;
}

/** The schedules a script may use. */
export const schedules = { step: stepSchedule };
