// The events of a run, and how they are shown: as lines, or as one live line on a terminal.

import type { Writable } from "node:stream";
import type { LogLine } from "../run-folder/log-lines.js";
import { seconds } from "../system/clock.js";
import { resumeCommand } from "../text/command.js";
import { count, counted, lossText, oneLine, printable } from "../text/words.js";

type Line<T extends LogLine["type"]> = Extract<LogLine, { type: T }>;

/** Something that happened in a run. */
export type RunEvent =
  | { type: "message"; text: string }
  /** Progress of something long before the first step. */
  | { type: "progress"; text: string }
  /** After each step; `steps` of the run in all, and milliseconds the device waited for input. */
  | (Line<"step"> & { steps: number; stepsPerEpoch: number; epochs: number; inputWait: number })
  | (Line<"epoch"> & { correct: number; epochs: number })
  | (Line<"end"> & { result: Result });

/** What a run ended with. */
export interface Result {
  status: "finished" | "interrupted";
  /** The signal that interrupted it. */
  signal?: NodeJS.Signals;
  /** Run folder. */
  out: string;
  model: string;
  /** Steps done. */
  steps: number;
  /** Mean loss of the last epoch's steps; absent when none was finished. */
  trainLoss?: number;
  /** Fractions correct on the whole test set at the last evaluation. */
  top1?: number;
  top5?: number;
  /** Images of the test set. */
  testImages?: number;
  /**
   * Median over the last five epochs of the error in % (paper, section 5.1); absent where fewer were
   * evaluated.
   */
  medianTop1Error?: number;
  seconds: number;
}

const short = (value: number) => Number(value.toPrecision(4)).toString();
const percent = (fraction: number) => `${Math.round(100 * fraction)}%`;

/** `loss scale 65,536, 2 steps skipped · `, in fp16. */
function describeScaling({ lossScale, skipped = 0 }: Partial<Line<"step">>): string {
  if (lossScale === undefined) return "";
  const skips = skipped > 0 ? `, ${counted(skipped, "step")} skipped` : "";
  return `loss scale ${count(lossScale)}${skips} · `;
}

/** Seconds between two lines, and between two updates of the live line. */
const lineInterval = 5;
const liveInterval = 0.2;

/** Shows the events of a run on a stream. */
export class Reporter {
  private live = false;
  private progressed: number | undefined;
  private since: number | undefined;
  private steps = 0;
  private images = 0;
  private waited = 0;
  /** Steps of the run that were skipped: those that an epoch's line has named, and all. */
  private skipped: { shown?: number; all: number } = { all: 0 };

  constructor(
    private readonly stream: Writable & { isTTY?: boolean },
    private readonly now = seconds,
  ) {}

  readonly show = (event: RunEvent): void => {
    if (event.type === "message") this.line(oneLine(event.text));
    if (event.type === "progress") this.progress(oneLine(event.text));
    if (event.type === "step") this.step(event);
    if (event.type === "epoch") {
      const { epoch, epochs, trainLoss, top1, correct, testImages, seconds } = event;
      this.line(
        `epoch ${epoch + 1}/${short(epochs)}: train loss ${lossText(trainLoss)}, ` +
          `test accuracy ${(100 * top1).toFixed(2)}% (${count(correct)} of ${count(testImages)}), ` +
          `${seconds.toFixed(1)} s${this.skips()}`,
      );
      this.since = undefined;
    }
    if (event.type === "end") this.line(this.ending(event.result));
  };

  /** The skipped steps in words, where there are more than the last epoch's line named. */
  private skips(): string {
    const { shown = 0, all } = this.skipped;
    this.skipped.shown = all;
    return all > shown ? `, ${counted(all, "step")} skipped so far` : "";
  }

  private ending(result: Result): string {
    const { status, steps, seconds, top1, testImages, medianTop1Error, out } = result;
    const after = `after ${counted(steps, "step")}, ${seconds.toFixed(1)} s`;
    if (status === "interrupted") {
      return `interrupted ${after}; continue with: ${resumeCommand(out)}`;
    }
    const images = count(testImages ?? 0);
    const accuracy = (100 * (top1 ?? 0)).toFixed(2);
    const median =
      medianTop1Error === undefined
        ? ""
        : `; median error of the last five epochs ${medianTop1Error.toFixed(2)}%`;
    return (
      `finished ${after}: test accuracy ${accuracy}%, ${images} of ${counted(testImages ?? 0, "image")}${median}\n` +
      `run folder: ${printable(out)}`
    );
  }

  private step(event: Extract<RunEvent, { type: "step" }>): void {
    const now = this.now();
    const { skipped = 0, goodSteps } = event;
    // An earlier process has shown those before this one's first step.
    this.skipped.shown ??= Math.max(0, skipped - Number(goodSteps === 0));
    this.skipped.all = skipped;
    if (this.since === undefined) {
      // The first step after a pause: an interval begins at its end.
      this.since = now;
      this.steps = 0;
      this.images = 0;
      this.waited = event.inputWait;
      if (!this.stream.isTTY) return;
    }
    this.steps++;
    this.images += event.imagesPerSecond > 0 ? 1 / event.imagesPerSecond : 0;
    const seconds = now - this.since;
    if (seconds < (this.stream.isTTY ? liveInterval : lineInterval)) return;
    const wait = Math.min(1, (event.inputWait - this.waited) / 1000 / seconds);
    const rate = this.steps / this.images; // harmonic mean of the steps' rates
    const text =
      `epoch ${event.epoch + 1}/${short(event.epochs)} · ` +
      `step ${count(event.step + 1)}/${count(event.steps)} · ${count(Math.round(rate))} images/s · ` +
      `loss ${lossText(event.loss)} · lr ${short(event.lr)} · ${describeScaling(event)}` +
      `compute ${percent(1 - wait)} · input wait ${percent(wait)}`;
    if (this.stream.isTTY) {
      this.update(text);
    } else {
      this.line(text);
    }
    this.since = now;
    this.steps = 0;
    this.images = 0;
    this.waited = event.inputWait;
  }

  private progress(text: string): void {
    const now = this.now();
    const interval = this.stream.isTTY ? liveInterval : lineInterval;
    if (this.progressed !== undefined && now - this.progressed < interval) return;
    const isFirst = this.progressed === undefined;
    this.progressed = now;
    if (this.stream.isTTY) this.update(text);
    else if (!isFirst) this.line(text); // what is soon done needs no line
  }

  /** Puts a text in the place of the live line. */
  private update(text: string): void {
    this.stream.write(`\r\x1b[2K${text}`);
    this.live = true;
  }

  private line(text: string): void {
    this.stream.write(`${this.live ? "\r\x1b[2K" : ""}${text}\n`);
    this.live = false;
  }
}
