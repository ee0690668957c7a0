// Estimates how long a run still takes, its evaluations included.

/** Seconds over which the speed of steps is averaged: old steps count less and less. */
const memory = 60;
/** Seconds of steps from which on their speed is known. */
const least = 2;
/** Forward alone, of a step's forward and backward passes. */
const forwardShare = 1 / 3;

export interface Course {
  /** Steps of the run in all. */
  steps: number;
  stepsPerEpoch: number;
  trainImages: number;
  testImages: number;
  /** Forward passes after each epoch besides the evaluation, in minibatches. */
  statistics: number;
}

/** All times in seconds of one clock. */
export class TimeLeft {
  private last: number | undefined;
  /** Averaged over `memory`: seconds, and steps in them. */
  private time = 0;
  private taken = 0;
  /** Seconds from an epoch's last step to the end of its evaluation, when they were last measured. */
  private evaluation: number | undefined;

  constructor(private readonly course: Course) {}

  /** A step has ended. */
  step(now: number): void {
    if (this.last !== undefined) {
      const passed = now - this.last;
      const kept = Math.exp(-passed / memory);
      this.time = this.time * kept + passed;
      this.taken = this.taken * kept + 1;
    }
    this.last = now;
  }

  /** The evaluation after the last step has ended. */
  evaluated(now: number): void {
    if (this.last !== undefined) this.evaluation = now - this.last;
    this.last = now;
  }

  /** Seconds from the end of the `done`-th step to the end of the run; undefined until the speed is known. */
  after(done: number): number | undefined {
    if (this.time < least) return undefined;
    const { steps, stepsPerEpoch, trainImages, testImages, statistics } = this.course;
    const perStep = this.time / this.taken;
    const tested = (stepsPerEpoch * testImages) / trainImages;
    const guess = perStep * forwardShare * (tested + statistics);
    // That after the last step of an epoch is still to come.
    const evaluations = Math.ceil(steps / stepsPerEpoch) - Math.ceil(done / stepsPerEpoch) + 1;
    return (steps - done) * perStep + evaluations * (this.evaluation ?? guess);
  }
}
