// The doctor: runs the table of checks, each within its own time and all within 90 seconds, and judges whether a run
// can start.
import { setTimeout } from "node:timers/promises";
import { describeGpus, environment, type MachineEnvironment } from "../system/environment.js";
import { type Check, type Diagnosis, type Facts, type Line, type Section, warn } from "./check.js";
import { abandonAll } from "./children.js";
import { gatherFacts } from "./facts.js";
import { gpuChecks } from "./gpus.js";
import { launcherChecks } from "./launcher.js";
import { machineChecks } from "./machine.js";
import { measuredChecks } from "./measured.js";
import { moduleChecks } from "./modules.js";
import { networkChecks } from "./network.js";
import { toolChecks } from "./tools.js";

/** What can be looked at without taking the machine from others. */
export const quietSections: readonly Section[] = [
  { title: "Software", checks: [...toolChecks, ...moduleChecks] },
  { title: "Machine", checks: machineChecks },
  { title: "GPUs", checks: gpuChecks },
  { title: "Network and launcher", checks: [...networkChecks, ...launcherChecks] },
];

export const sections: readonly Section[] = [
  ...quietSections,
  { title: "Measured", checks: measuredChecks },
];

/** Of all checks together. */
const secondsInAll = 90;

/** What watches the doctor at work. */
export interface Watcher {
  section?: (title: string) => void;
  /** A check begins. */
  begin?: (name: string) => void;
  lines?: (lines: readonly Line[]) => void;
  end?: () => void;
}

/** The lines of one check; a line that says so where it fails or does not end in time. */
export async function examine(check: Check, facts: Facts, secondsLeft: number): Promise<Line[]> {
  const { name, advice } = check;
  const seconds = Math.min(check.seconds, secondsLeft);
  if (!(seconds > 0)) return [warn(name, "not looked at: the other checks took too long", advice)];
  const ended = new AbortController();
  const limit = `${Number(seconds.toPrecision(2))} s${seconds < check.seconds ? " that the other checks left" : ""}`;
  const late = setTimeout(1000 * seconds, undefined, { signal: ended.signal, ref: true }).then(
    () => [warn(name, `not ended within ${limit}`, advice)],
    () => [],
  );
  try {
    return await Promise.race([Promise.resolve(check.look(facts)), late]);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return [warn(name, `could not be looked at: ${message}`, advice)];
  } finally {
    ended.abort();
  }
}

/** Runs the checks of sections one after the other. */
export async function diagnose(
  of: readonly Section[] = sections,
  watcher: Watcher = {},
): Promise<Diagnosis> {
  const facts = gatherFacts();
  const deadline = performance.now() + 1000 * secondsInAll;
  const checks: Line[] = [];
  for (const section of of) {
    watcher.section?.(section.title);
    for (const check of section.checks) {
      watcher.begin?.(check.name);
      const lines = await examine(check, facts, (deadline - performance.now()) / 1000);
      checks.push(...lines);
      watcher.lines?.(lines);
    }
  }
  watcher.end?.();
  const canRun = checks.every(({ verdict }) => verdict !== "bad");
  const machine = await machineOf(facts);
  abandonAll(); // what a check did not wait for
  return { checks, environment: machine, canRun };
}

/** The environment as the modules' own processes told it: this one loads none. */
async function machineOf({ modules }: Facts): Promise<MachineEnvironment> {
  const all = await modules();
  const libraries = Object.assign({}, ...all.map((module) => module.libraries));
  return environment({ libraries, gpus: describeGpus(all.flatMap(({ gpus }) => gpus)) });
}
