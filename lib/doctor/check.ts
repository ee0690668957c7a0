// A check of the doctor's, and what it finds: lines with a verdict each.
import type { MachineEnvironment } from "../system/environment.js";
import type { LoadedModule } from "./probe.js";

/** "bad" keeps a run from starting; "warning" makes it slower, or keeps some runs from starting. */
export const verdicts = ["good", "warning", "bad"] as const;
export type Verdict = (typeof verdicts)[number];

/** One line of the doctor's report. */
export interface Line {
  name: string;
  /** What is there, in words. */
  found: string;
  verdict: Verdict;
  /** A command that mends it, or shows more; only a good line may lack it. */
  advice?: string;
}

/** A row of the table of checks. */
export interface Check {
  /** What is looked at; the name of its line where it does not end in time. */
  name: string;
  /** Seconds after which it counts as hanging. */
  seconds: number;
  look: (facts: Facts) => Promise<Line[]> | Line[];
  /** What shows more where the check itself fails. */
  advice: string;
}

export interface Section {
  title: string;
  checks: readonly Check[];
}

/** What all checks find. */
export interface Diagnosis {
  checks: Line[];
  environment: MachineEnvironment;
  /** Whether no check is bad. */
  canRun: boolean;
}

/** A native module as a process of its own has loaded it. */
export interface ModuleReport extends LoadedModule {
  name: "cpu" | "cuda" | "data";
  state: "loads" | "broken" | "not built";
  /** Of one that is broken: whether a run that loads it is killed, or hangs. */
  isFatal?: boolean;
}

/** What several checks need, looked for once. */
export interface Facts {
  modules(): Promise<readonly ModuleReport[]>;
  /** Whether an NVIDIA GPU is on the bus, with a driver or without. */
  hasGpu: boolean;
}

/** What begins a command that only root may run. */
export const asRoot = process.getuid?.() === 0 ? "" : "sudo ";

export const good = (name: string, found: string): Line => ({ name, found, verdict: "good" });

export const warn = (name: string, found: string, advice: string): Line => ({
  ...{ name, found, verdict: "warning", advice },
});

export const bad = (name: string, found: string, advice: string): Line => ({
  ...{ name, found, verdict: "bad", advice },
});
