// What rank 0 tells of a run: lines of its log, the page about it, and events for whoever started it. On other
// ranks it is silent.

import type { Restart } from "../ranks/restart-policy.js";
import type { Log } from "../run-folder/log.js";
import type { Line } from "../run-folder/log-lines.js";
import type { NoiseSums } from "../run-folder/position.js";
import { seconds } from "../system/clock.js";
import type { Stage } from "../terminal/stages.js";
import type { Result, RunEvent } from "./events.js";
import { LiveReport } from "./live-report.js";
import { noiseScaleOf } from "./noise-scale.js";
import type { Progress } from "./progress.js";
import { type EpochLine, endLine } from "./result.js";
import type { StepResult } from "./step-queue.js";
import type { StepTracing } from "./step-tracing.js";
import { type Course, TimeLeft } from "./time-left.js";

interface JournalOptions {
  /** Whether this is rank 0. */
  leads: boolean;
  course: Course;
  /** Epochs that the recipe asks for. */
  epochs: number;
  /** Run folder. */
  out: string;
  onEvent: (event: RunEvent) => void;
}

export class Journal {
  private readonly timeLeft: TimeLeft;
  private readonly report: LiveReport;
  private log: Log | undefined;
  /** Best accuracy on the test set so far. */
  private best: number | undefined;

  constructor(private readonly options: JournalOptions) {
    this.timeLeft = new TimeLeft(options.course);
    this.report = new LiveReport(options.out, this.say);
  }

  private emit(event: RunEvent): void {
    if (this.options.leads) this.options.onEvent(event);
  }

  /** Shows a message to the user. */
  readonly say = (text: string): void => this.emit({ type: "message", text });

  /** Shows the progress of what is no step. */
  readonly show = (stage: Stage): void => this.emit({ type: "progress", ...stage });

  /** Writes to a log from here on. */
  open(log: Log): void {
    this.log = log;
  }

  /** Logs what went wrong while the run went on, after so many steps. */
  warn(step: number, text: string): void {
    this.log?.write({ type: "warning", step, text });
  }

  /** Takes over the epochs of earlier processes, and logs why this one was started after a failure. */
  begin(
    { step, epochs }: Pick<Progress, "step" | "epochs">,
    workers: number,
    restart: Restart | undefined,
  ): void {
    for (const epoch of epochs) this.updateBest(epoch);
    if (restart) this.log?.write({ type: "restart", step, workers, ...restart });
    // The page of an earlier process says that the run has ended.
    if (this.log && step > 0) this.report.update();
  }

  /** Rank 0 alone has the split of a step; `epoch` is the step's, and `noise` is after it where it is measured. */
  step(
    result: StepResult,
    epoch: number,
    split: ReturnType<StepTracing["split"]>,
    noise: NoiseSums | undefined,
  ): void {
    const noiseScale = noise && noiseScaleOf(noise);
    const { step, lr, momentumFactor, loss, top1, imagesPerSecond, scaling } = result;
    const line = {
      ...{ type: "step" as const, step, epoch, loss, top1, lr, momentumFactor, imagesPerSecond },
      ...scaling,
      ...(noiseScale === undefined ? {} : { noiseScale }),
      ...split,
    };
    this.log?.write(line);
    this.timeLeft.step(seconds());
    const secondsLeft = this.timeLeft.after(step + 1);
    const { epochs, course } = this.options;
    const { steps, stepsPerEpoch } = course;
    this.emit({
      ...{ ...line, steps, stepsPerEpoch, epochs },
      ...(this.best === undefined ? {} : { bestTop1: this.best }),
      ...(secondsLeft === undefined ? {} : { secondsLeft }),
    });
  }

  private updateBest({ top1 }: EpochLine): void {
    this.best = Math.max(this.best ?? 0, top1);
  }

  /** `correct` images of the test set were named rightly. */
  epoch(line: EpochLine, correct: number): void {
    const { epochs, course } = this.options;
    this.timeLeft.evaluated(seconds());
    this.updateBest(line);
    this.log?.write(line);
    this.emit({ ...line, correct, epochs });
    // The end, which follows the last epoch, writes the page too.
    const done = (line.epoch + 1) * course.stepsPerEpoch;
    if (this.log && done < course.steps) this.report.update();
  }

  /** `isApart`: a command for each node, or one of an engine, has started the ranks. */
  async end(result: Result, isApart: boolean): Promise<void> {
    const line = endLine(result);
    await this.finish(line);
    this.emit({ ...line, result, isApart });
  }

  async fail(error: Error, { step, seconds }: Progress): Promise<void> {
    const { message: reason, code } = error as Error & { code?: string };
    await this.finish({
      ...{ type: "end", status: "failed", steps: step, seconds, reason },
      ...(code === undefined ? {} : { code }),
    });
  }

  /** Writes the last line and the page that has it. */
  private async finish(line: Line<"end">): Promise<void> {
    if (!this.log) return;
    this.log.write(line);
    await this.report.finish();
  }

  /** Writes the lines so far to the disk. */
  async sync(): Promise<void> {
    await this.log?.sync();
  }

  close(): void {
    this.log?.close();
  }
}
