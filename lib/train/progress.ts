// How far a run is: its steps, its epochs and their seconds, including those of earlier processes.

import { initialScaling } from "../ops/loss-scale.js";
import type { Position } from "../run-folder/position.js";
import type { Evaluation } from "./evaluate.js";
import type { EpochLine } from "./result.js";
import type { StepResult } from "./step-queue.js";

export class Progress {
  /** The finished epochs, as they were logged. */
  epochs: EpochLine[] = [];
  private readonly started = performance.now();
  private epochStarted = this.started;
  private epochEnded = this.started;
  /** Milliseconds that the device had waited for input when the epoch began. */
  private idle = 0;
  /** Seconds of the run, and of the epoch at hand, before this process. */
  private earlier = { run: 0, epoch: 0 };
  /** The first step of this process and when it began, in ms. */
  private first = { step: 0, time: this.started };

  /** `at` is where the run begins. */
  constructor(
    private at: Position,
    private readonly stepsPerEpoch: number,
  ) {}

  /** Goes on from where an earlier process stood. */
  continue(at: Position, epochs: EpochLine[]): void {
    this.at = at;
    this.epochs = epochs;
    this.earlier = { run: at.seconds, epoch: at.epochSeconds };
  }

  /** Counts the time of steps from now on. */
  startSteps(): void {
    this.epochStarted = performance.now();
    this.epochEnded = this.epochStarted;
    this.first = { step: this.step, time: this.epochStarted };
  }

  /** Steps done. */
  get step(): number {
    return this.at.step;
  }

  get lastLearningRate(): number | undefined {
    return this.at.lastLearningRate;
  }

  /** What the next step's loss is multiplied by. */
  get lossScale(): number {
    return (this.at.scaling ?? initialScaling).lossScale;
  }

  get position(): Position {
    return { ...this.at, epochSeconds: this.epochSeconds, seconds: this.seconds };
  }

  get seconds(): number {
    return this.earlier.run + (performance.now() - this.started) / 1000;
  }

  private get epochSeconds(): number {
    return this.earlier.epoch + (performance.now() - this.epochStarted) / 1000;
  }

  /** Milliseconds that a step of this process has taken. */
  get perStep(): number {
    return (performance.now() - this.first.time) / Math.max(1, this.step - this.first.step);
  }

  /** Counts a step; returns its epoch. */
  finishStep({
    step,
    lr,
    loss,
    top1,
    scaling,
    noise = this.at.noise,
  }: Pick<StepResult, "step" | "lr" | "loss" | "top1" | "scaling"> &
    Pick<Position, "noise">): number {
    const epoch = Math.floor(step / this.stepsPerEpoch);
    if (epoch !== this.at.epoch) {
      this.at.lossSum = 0;
      this.at.top1Sum = 0;
      this.earlier.epoch = 0;
      this.epochStarted = this.isEvaluated ? this.epochEnded : performance.now();
    }
    this.at = { ...this.at, epoch, step: step + 1, lastLearningRate: lr, scaling, noise };
    this.at.lossSum += loss;
    if (this.at.top1Sum !== undefined) this.at.top1Sum += top1;
    return epoch;
  }

  /**
   * Share of the time of this process's steps in the epoch in which the device waited for input;
   * `idle` is for how many milliseconds it did so in all.
   */
  inputWait(idle: number): number {
    const time = performance.now() - Math.max(this.epochStarted, this.epochEnded);
    return time > 0 ? Math.min(1, (idle - this.idle) / time) : 0;
  }

  /**
   * Counts the epoch of the last step, with the results of its evaluation, that of the moving average where
   * there is one; returns its line.
   */
  finishEpoch(
    { top1, top5, loss, images }: Evaluation,
    averaged: Evaluation | undefined,
    inputWait: number,
    idle: number,
  ): EpochLine {
    const { epoch, lossSum, top1Sum, step } = this.at;
    const steps = step - epoch * this.stepsPerEpoch;
    const line: EpochLine = {
      type: "epoch",
      epoch,
      trainLoss: lossSum / steps,
      ...(top1Sum === undefined ? {} : { trainTop1: top1Sum / steps }),
      top1,
      top5,
      testLoss: loss,
      ...(averaged ? { emaTop1: averaged.top1, emaTestLoss: averaged.loss } : {}),
      testImages: images,
      inputWait: Number(inputWait.toFixed(4)),
      seconds: this.epochSeconds,
    };
    this.epochs.push(line);
    this.epochEnded = performance.now();
    this.idle = idle;
    return line;
  }

  /** Whether the epoch of the last step has been evaluated. */
  get isEvaluated(): boolean {
    return this.epochs.at(-1)?.epoch === this.at.epoch;
  }

  /** Whether the last epoch that was evaluated, with a finite loss, is more accurate than all before. */
  get isBest(): boolean {
    const last = this.epochs.at(-1);
    if (!last || !Number.isFinite(last.testLoss)) return false;
    return this.epochs.every((epoch) => epoch === last || epoch.top1 < last.top1);
  }
}
