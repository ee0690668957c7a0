// The events of a run.

import type { Line } from "../run-folder/log-lines.js";
import type { Stage } from "../terminal/stages.js";

/** Something that happened in a run. */
export type RunEvent =
  | { type: "message"; text: string }
  /** Progress of something long that is no step, such as listing a folder or an evaluation. */
  | ({ type: "progress" } & Stage)
  | (Line<"step"> & StepFacts)
  | (Line<"epoch"> & { correct: number; epochs: number })
  /** `isApart`: a command for each node, or one of an engine, has started the ranks. */
  | (Line<"end"> & { result: Result; isApart?: boolean });

/** What is known after a step, besides what is logged. */
interface StepFacts {
  /** Of the run in all. */
  steps: number;
  stepsPerEpoch: number;
  epochs: number;
  /** Seconds of the step in which the device waited for input. */
  inputWait: number;
  /** Best accuracy on the test set so far, earlier processes of the run included; absent before the first evaluation. */
  bestTop1?: number;
  /** To the end of the run, evaluations included; absent until it can be estimated. */
  secondsLeft?: number;
}

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
  /** Fraction that the moving average of the weights has correct, where the run keeps one. */
  emaTop1?: number;
  /** Images of the test set. */
  testImages?: number;
  /**
   * Median over the last five epochs of the error in % (paper, section 5.1); absent where fewer were
   * evaluated.
   */
  medianTop1Error?: number;
  seconds: number;
}
