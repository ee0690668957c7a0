// What rank 0 tells of a run: lines of its log, and events for whoever started it. On other ranks it is silent.

import type { Restart } from "../ranks/restart-policy.js";
import type { Log } from "../run-folder/log.js";
import { seconds } from "../system/clock.js";
import type { Stage } from "../terminal/stages.js";
import type { Result, RunEvent } from "./events.js";
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
  onEvent: (event: RunEvent) => void;
}

export class Journal {
  private readonly timeLeft: TimeLeft;
  private log: Log | undefined;

  constructor(private readonly options: JournalOptions) {
    this.timeLeft = new TimeLeft(options.course);
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

  restart(step: number, workers: number, restart: Restart): void {
    this.log?.write({ type: "restart", step, workers, ...restart });
  }

  /** Rank 0 alone has the split of a step; `epoch` is the step's. */
  step(result: StepResult, epoch: number, split: ReturnType<StepTracing["split"]>): void {
    const { step, lr, momentumFactor, loss, top1, imagesPerSecond, scaling } = result;
    const line = {
      ...{ type: "step" as const, step, epoch, loss, top1, lr, momentumFactor, imagesPerSecond },
      ...scaling,
      ...split,
    };
    this.log?.write(line);
    this.timeLeft.step(seconds());
    const secondsLeft = this.timeLeft.after(step + 1);
    const { epochs, course } = this.options;
    const { steps, stepsPerEpoch } = course;
    this.emit({
      ...{ ...line, steps, stepsPerEpoch, epochs },
      ...(secondsLeft === undefined ? {} : { secondsLeft }),
    });
  }

  /** `correct` images of the test set were named rightly. */
  epoch(line: EpochLine, correct: number): void {
    this.timeLeft.evaluated(seconds());
    this.log?.write(line);
    this.emit({ ...line, correct, epochs: this.options.epochs });
  }

  /** `isApart`: a command for each node, or one of an engine, has started the ranks. */
  end(result: Result, isApart: boolean): void {
    const line = endLine(result);
    this.log?.write(line);
    this.emit({ ...line, result, isApart });
  }

  fail({ message }: Error, { step, seconds }: Progress): void {
    this.log?.write({ type: "end", status: "failed", steps: step, seconds, reason: message });
  }

  async sync(): Promise<void> {
    await this.log?.sync();
  }

  close(): void {
    this.log?.close();
  }
}
