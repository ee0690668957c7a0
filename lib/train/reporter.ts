// Shows the events of a run: on a terminal a live line below whole lines, elsewhere a line an interval.

import { seconds } from "../system/clock.js";
import type { LineStream } from "../terminal/color.js";
import { fitFields, wholeLine } from "../terminal/fields.js";
import { LiveLine } from "../terminal/live-line.js";
import { lineInterval, liveInterval, Stages } from "../terminal/stages.js";
import { commandLine, continuation } from "../text/command.js";
import { count, counted, lossText, oneLine, printable } from "../text/words.js";
import type { RunEvent } from "./events.js";
import { type Parts, runBar, type StepEvent, short, stepFields } from "./step-line.js";

/** Seconds over which the live line's rates are averaged. */
const averaged = 5;
/** Shares of input wait between which a run that was held up by its input still counts as such. */
const [fed, starved] = [0.05, 0.1];

const noParts: Parts = { compute: 0, exposedCommunication: 0, update: 0 };
const nothing = () => ({ seconds: 0, steps: 0, perImage: 0, wait: 0, ...noParts });

const times = ({ compute, exposedCommunication, update }: Parts, factor: number): Parts => ({
  compute: compute * factor,
  exposedCommunication: exposedCommunication * factor,
  update: update * factor,
});

export class Reporter {
  private readonly live: LiveLine;
  private readonly stages: Stages;
  /** Of the steps since the last line, or of late where there is a live line. */
  private sums = nothing();
  /** Shares of the last measured steps, but for the wait for input. */
  private parts: Parts | undefined;
  /** Of the steps of an epoch so far, as far as they are known. */
  private correct = { epoch: -1, sum: 0, steps: 0 };
  private last: number | undefined;
  private shown = 0;
  private isStarved = false;
  /** Steps of the run that were skipped: those that an epoch's line has named, and all. */
  private skipped: { shown?: number; all: number } = { all: 0 };

  constructor(
    stream: LineStream,
    private readonly now = seconds,
    env: NodeJS.ProcessEnv = process.env,
  ) {
    this.live = new LiveLine(stream, env);
    this.stages = new Stages(this.live, now);
  }

  readonly show = (event: RunEvent): void => {
    if (event.type === "message") this.message(oneLine(event.text));
    if (event.type === "progress") this.stages.show({ ...event, text: oneLine(event.text) });
    if (event.type === "step") this.step(event);
    if (event.type === "epoch") this.epoch(event);
    if (event.type === "end") this.live.line(this.ending(event));
  };

  private message(text: string): void {
    this.live.line(text.replace(/^warning(?=:)/, (word) => this.live.color("yellow", word)));
  }

  private epoch(event: Extract<RunEvent, { type: "epoch" }>): void {
    const { epoch, epochs, trainLoss, top1, emaTop1, correct, testImages, seconds } = event;
    const averaged =
      emaTop1 === undefined ? "" : `, of the moving average ${(100 * emaTop1).toFixed(2)}%`;
    this.stages.end(); // the next evaluation is another stage
    this.live.line(
      `epoch ${epoch + 1}/${short(epochs)}: train loss ${lossText(trainLoss)}, ` +
        `test accuracy ${(100 * top1).toFixed(2)}% (${count(correct)} of ${count(testImages)})${averaged}, ` +
        `${seconds.toFixed(1)} s${this.skips()}`,
    );
    this.last = undefined;
  }

  /** The skipped steps in words, where there are more than the last epoch's line named. */
  private skips(): string {
    const { shown = 0, all } = this.skipped;
    this.skipped.shown = all;
    return all > shown ? `, ${counted(all, "step")} skipped so far` : "";
  }

  private ending({ result, isApart = false }: Extract<RunEvent, { type: "end" }>): string {
    const { status, steps, seconds, top1, emaTop1, testImages, medianTop1Error, out } = result;
    const color = status === "interrupted" ? "yellow" : "green";
    const end = `${this.live.color(color, status)} after ${counted(steps, "step")}, ${seconds.toFixed(1)} s`;
    if (status === "interrupted") return `${end}; continue with: ${continuation(out, isApart)}`;
    const images = `${count(testImages ?? 0)} of ${counted(testImages ?? 0, "image")}`;
    const lines = [
      end,
      `test accuracy ${(100 * (top1 ?? 0)).toFixed(2)}%, ${images} counted`,
      ...(emaTop1 === undefined
        ? []
        : [`test accuracy of the moving average ${(100 * emaTop1).toFixed(2)}%`]),
      ...(medianTop1Error === undefined
        ? []
        : [`median error of the last five epochs ${medianTop1Error.toFixed(2)}%`]),
      `run folder: ${printable(out)}`,
      `report: ${commandLine("report", out)}`,
    ];
    return lines.join("\n");
  }

  private step(event: StepEvent): void {
    const now = this.now();
    const { skipped = 0, goodSteps, inputWait, imagesPerSecond } = event;
    // An earlier process has shown those before this one's first step.
    this.skipped.shown ??= Math.max(0, skipped - Number(goodSteps === 0));
    this.skipped.all = skipped;
    this.countCorrect(event);
    const { last } = this;
    this.last = now;
    if (last === undefined) {
      // The first step after a pause: an interval begins at its end.
      this.sums = nothing();
      this.shown = now;
      return;
    }
    const { sums, live } = this;
    sums.seconds += now - last;
    sums.steps++;
    sums.perImage += imagesPerSecond > 0 ? 1 / imagesPerSecond : 0;
    sums.wait += inputWait;
    sums.compute += event.compute ?? 0;
    sums.exposedCommunication += event.exposedCommunication ?? 0;
    sums.update += event.update ?? 0;
    if (now - this.shown < (live.isLive ? liveInterval : lineInterval)) return;
    this.shown = now;
    const wait = sums.seconds > 0 ? Math.min(1, sums.wait / sums.seconds) : 0;
    this.isStarved = wait > (this.isStarved ? fed : starved);
    const busy = sums.compute + sums.exposedCommunication + sums.update;
    if (busy > 0) this.parts = times(sums, 1 / busy);
    const { parts, correct } = this;
    const pace = {
      imagesPerSecond: sums.perImage > 0 ? sums.steps / sums.perImage : 0, // harmonic mean
      inputWait: wait,
      parts: parts && times(parts, 1 - wait),
      trainTop1: correct.steps > 0 ? correct.sum / correct.steps : undefined,
      isStarved: this.isStarved,
    };
    const fields = stepFields(event, pace, live.color);
    if (live.isLive) {
      live.update((columns) => fitFields([runBar(event, columns, live.color), ...fields], columns));
      if (sums.seconds > averaged) this.scale(1 / 2); // older steps count less
    } else {
      live.line(wholeLine(fields));
      this.scale(0);
    }
  }

  private countCorrect({ epoch, top1 }: StepEvent): void {
    if (epoch !== this.correct.epoch) this.correct = { epoch, sum: 0, steps: 0 };
    if (top1 === undefined) return;
    this.correct.sum += top1;
    this.correct.steps++;
  }

  private scale(factor: number): void {
    const { sums } = this;
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] *= factor;
  }
}
