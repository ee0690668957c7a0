// The result of an experiment: all runs, what they say, and what they ran on.
import type { EndingSignal } from "../ranks/signals.js";
import type { MachineEnvironment } from "../system/environment.js";
import type { Part } from "./claims.js";
import type { ExperimentDevice, Spent } from "./folder.js";
import type { ExperimentName } from "./points.js";
import type { RunRecord } from "./records.js";
import type { Setting } from "./setting.js";
import type { Verdict } from "./verdicts.js";

export interface ExperimentResult extends Spent {
  type: "onehour-experiment-result";
  name: ExperimentName;
  /** Its folder. */
  out: string;
  /** What runs it on another machine, in a folder of that one's choice. */
  command: string;
  /** Of the training set. */
  images: number;
  classes: number;
  setting: Setting;
  /** Asked for, of each point. */
  seeds: number;
  firstSeed: number;
  /** Of all runs but the remarks', which are on the CPU. */
  device: ExperimentDevice;
  /** Runs side by side. */
  jobs: number;
  /** "running" until the command ends; "failed" where an error ended it, which `experiment` threw. */
  status: "running" | "finished" | "out of time" | "interrupted" | "failed";
  /** That interrupted it. */
  signal?: EndingSignal;
  /** Every run that has begun, in the order of their beginning. */
  runs: RunRecord[];
  /** By the parts of the experiment. */
  verdicts: Partial<Record<Part, Verdict[]>>;
  /** What this machine is. */
  environment: MachineEnvironment;
}
