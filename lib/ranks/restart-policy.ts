// Decides whether a run that has failed starts again, and on which nodes.
import { usageCodes } from "../errors.js";

/** A failure of a run. */
export interface RunFailure {
  /** One line that names who failed, and of what. */
  cause: string;
  /** The cause without who it was, where an error of a worker's program is to blame. */
  error?: string | undefined;
  code?: string | undefined;
  /** Steps done, where they are known. */
  steps?: number | undefined;
}

/** Why and how a run started again. */
export interface Restart {
  /** From 1 on. */
  count: number;
  /** The failure before it. */
  cause: string;
  /** The nodes that take part, and those that stand by. */
  nodes: number[];
  standBy: number[];
}

/** What follows from a failure: another start, or the end, for a reason where one is to be named. */
export type Decision = { again: true; count: number } | { again: false; why?: string };

const windowSeconds = 3600;
// Results are read back late: of two runs that fail at the same step one may have logged some more.
const stepsInFlight = 3;

/** Codes of errors in what was asked for, or in the files of the run: no other start helps. */
const hopeless: ReadonlySet<string> = new Set([
  ...usageCodes,
  "ERR_ONEHOUR_NOT_BUILT",
  "ERR_ONEHOUR_DATA",
  "ERR_ONEHOUR_RUN_FOLDER",
  "ERR_ONEHOUR_CHECKPOINT",
]);

/** Counts the failures of a run. Times are seconds of a monotonic clock. */
export class RestartPolicy {
  private readonly restarts: number[] = [];
  private last: RunFailure | undefined;
  private count = 0;

  /** At most `most` restarts within an hour. */
  constructor(private readonly most: number) {}

  decide(failure: RunFailure, now: number): Decision {
    if (this.most === 0) return { again: false };
    if (hopeless.has(failure.code ?? ""))
      return { again: false, why: "another start would not change that" };
    if (isSame(this.last, failure))
      return {
        again: false,
        why: "the same happened at the same step before the last restart, so that no machine is to blame",
      };
    this.last = failure;
    const recent = this.restarts.filter((time) => now - time < windowSeconds);
    if (recent.length >= this.most) {
      const times = recent.length === 1 ? "once" : `${recent.length} times`;
      return { again: false, why: `the run was restarted ${times} within an hour` };
    }
    this.restarts.push(now);
    this.count++;
    return { again: true, count: this.count };
  }
}

/** Whether two failures are of one error of the program at one step. */
function isSame(a: RunFailure | undefined, b: RunFailure): boolean {
  if (a?.error === undefined || a.error !== b.error) return false;
  if (a.steps === undefined || b.steps === undefined) return false;
  return Math.abs(a.steps - b.steps) <= stepsInFlight;
}

/**
 * The nodes of those that are here that a run goes on with: as many as possible, the first ones, of at least
 * `least`, whose workers `fit`. Undefined where there is no such number. Node 0 is among those here.
 */
export function chooseNodes(
  here: readonly number[],
  least: number,
  workersPerNode: number,
  fit: (workers: number) => boolean,
): number[] | undefined {
  const sorted = [...here].sort((a, b) => a - b);
  for (let count = sorted.length; count >= Math.max(1, least); count--)
    if (fit(count * workersPerNode)) return sorted.slice(0, count);
  return undefined;
}
