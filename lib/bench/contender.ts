// A contender of a benchmark: runs training steps when asked to, and waits in between.
import type { Precision } from "../graph/compile.js";

/** The step to run. Sizes in pixels, `batch` in images per worker. */
export interface StepSettings {
  model: string;
  images: { height: number; width: number; channels: number };
  classes: number;
  batch: number;
  precision: Precision;
  device: "cpu" | "cuda";
  threads: number;
}

export interface Round {
  /** Wall time of the slowest process for all steps. */
  seconds: number;
  /** Largest resident memory of a process so far. */
  peakBytes: number;
  /** In which the slowest process' device had nothing to do; unknown of PyTorch. */
  inputWait?: number;
}

export interface Contender {
  readonly name: string;
  readonly workers: number;
  /** Images of a step, of all workers together. */
  readonly minibatch: number;
  /** Bytes that the planner and the kernels asked for, per process; unknown to PyTorch. */
  readonly plannedBytes?: number;
  run(steps: number): Promise<Round>;
}
