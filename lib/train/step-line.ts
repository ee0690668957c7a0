// The line of a run's steps: its fields, in their order, and which of them go first where there is little room.

import type { Paint } from "../terminal/color.js";
import { timeLeft } from "../terminal/durations.js";
import { barField, type Field } from "../terminal/fields.js";
import { count, counted, lossText } from "../text/words.js";
import type { RunEvent } from "./events.js";
import type { Split } from "./step-split.js";

export type StepEvent = Extract<RunEvent, { type: "step" }>;

/** What a step consists of besides the wait for input. */
export type Parts = Omit<Split, "inputWait">;

/** What a line of steps shows besides the last step. */
export interface Pace {
  imagesPerSecond: number;
  /** Share of the time in which the device waited for input. */
  inputWait: number;
  /** Shares of the other parts of a step, where those were measured. */
  parts: Parts | undefined;
  /** Whether input holds up the run, so that its wait is shown first. */
  isStarved: boolean;
  /** The accuracy on the training images of the epoch so far, where it is known. */
  trainTop1: number | undefined;
}

export const short = (value: number) => Number(value.toPrecision(4)).toString();
export const percent = (fraction: number) => `${Math.round(100 * fraction)}%`;
const onePlace = (fraction: number) => `${(100 * fraction).toFixed(1)}%`;
const exactPercent = (fraction: number) => `${(100 * fraction).toFixed(2)}%`;

/** 65,536, 2 steps skipped */
function scaleText(lossScale: number, skipped: number): string {
  return count(lossScale) + (skipped > 0 ? `, ${counted(skipped, "step")} skipped` : "");
}

/** Ranks are of the live line: what is left out last has 1. */
export function stepFields(event: StepEvent, pace: Pace, color: Paint): Field[] {
  const { epoch, epochs, step, steps, loss, lr, lossScale, skipped = 0 } = event;
  const { bestTop1, secondsLeft } = event;
  const { imagesPerSecond, inputWait, parts, isStarved, trainTop1 } = pace;
  const done = count(step + 1).padStart(count(steps).length);
  const left = secondsLeft === undefined ? undefined : timeLeft(secondsLeft);
  const exposed = parts?.exposedCommunication ?? 0;
  const table: (Field | undefined)[] = [
    { rank: 1, forms: [`epoch ${epoch + 1}/${short(epochs)}`] },
    { rank: 8, forms: [`step ${done}/${count(steps)}`] },
    { rank: 3, forms: [`loss ${lossText(loss)}`] },
    trainTop1 === undefined
      ? undefined
      : {
          rank: 5,
          forms: [`train top-1 ${onePlace(trainTop1)}`, `top-1 ${onePlace(trainTop1)}`],
        },
    bestTop1 === undefined
      ? undefined
      : {
          rank: 12,
          forms: [`best test top-1 ${exactPercent(bestTop1)}`, `best ${exactPercent(bestTop1)}`],
        },
    { rank: 10, forms: [`lr ${short(lr)}`] },
    lossScale === undefined
      ? undefined
      : { rank: 14, forms: [`loss scale ${scaleText(lossScale, skipped)}`] },
    {
      rank: 4,
      forms: [
        `${count(Math.round(imagesPerSecond))} images/s`,
        `${count(Math.round(imagesPerSecond))}/s`,
      ],
    },
    parts && { rank: 11, forms: [`compute ${percent(parts.compute)}`] },
    // One worker waits for nobody.
    exposed > 0
      ? {
          rank: 9.5,
          forms: [`exposed communication ${percent(exposed)}`, `exposed ${percent(exposed)}`],
        }
      : undefined,
    {
      rank: isStarved ? 3.5 : 9,
      forms: [`input wait ${percent(inputWait)}`, `input ${percent(inputWait)}`],
      color: (text) => (isStarved ? color("yellow", text) : text),
    },
    parts && { rank: 13, forms: [`update ${percent(parts.update)}`] },
    left === undefined ? undefined : { rank: 2, forms: [`${left} left`, left] },
  ];
  return table.filter((field) => field !== undefined);
}

/** The bar before them. */
export const runBar = ({ step, steps }: StepEvent, columns: number, color: Paint) =>
  barField((step + 1) / steps, 7, columns, color);
