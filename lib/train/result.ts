// The result of a run, from the epochs that it logged.

import { median } from "../arrays/median.js";
import type { Line } from "../run-folder/log-lines.js";
import type { Result } from "./events.js";

/** The log line of an epoch. */
export type EpochLine = Line<"epoch">;

const lastEpochs = 5;

/**
 * Median over the last five epochs of the top-1 error in %, the figure of the paper's tables (section
 * 5.1); undefined for fewer epochs.
 */
export function medianTop1Error(epochs: readonly EpochLine[]): number | undefined {
  if (epochs.length < lastEpochs) return undefined;
  return median(epochs.slice(-lastEpochs).map(({ top1 }) => 100 * (1 - top1)));
}

/** The facts of a run's end, completed by those of its epochs. */
export function resultOf(
  facts: Omit<Result, "trainLoss" | "top1" | "top5" | "emaTop1" | "testImages" | "medianTop1Error">,
  epochs: readonly EpochLine[],
): Result {
  const last = epochs.at(-1);
  if (!last) return facts;
  const { trainLoss, top1, top5, emaTop1, testImages } = last;
  const error = medianTop1Error(epochs);
  return {
    ...facts,
    trainLoss,
    top1,
    top5,
    testImages,
    ...(emaTop1 === undefined ? {} : { emaTop1 }),
    ...(error === undefined ? {} : { medianTop1Error: error }),
  };
}

/** The result of a run where it stands now. */
export function runResult(
  status: Result["status"],
  signal: NodeJS.Signals | undefined,
  { out, model }: { out: string; model: string },
  { step, seconds, epochs }: { step: number; seconds: number; epochs: readonly EpochLine[] },
): Result {
  const interrupted = status === "interrupted" && signal ? { signal } : {};
  return resultOf({ status, ...interrupted, out, model, steps: step, seconds }, epochs);
}

/** The last line of a run that came to an end, or was interrupted. */
export function endLine(result: Result): Line<"end"> {
  const { status, steps, seconds, top1, emaTop1, medianTop1Error } = result;
  return {
    type: "end",
    status,
    steps,
    seconds,
    ...(top1 === undefined ? {} : { top1 }),
    ...(emaTop1 === undefined ? {} : { emaTop1 }),
    ...(medianTop1Error === undefined ? {} : { medianTop1Error }),
  };
}
