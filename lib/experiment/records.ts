// What became of a run of an experiment, read from its folder.
import { join } from "node:path";
import { recipeName } from "../recipe/run-recipe.js";
import { type RunData, readRuns } from "../report/run-data.js";
import { isThere } from "../run-folder/files.js";
import { medianTop1Error } from "../train/result.js";
import type { Task } from "./schedule.js";

/** Below the folder of an experiment. */
export const runsName = "runs";

export interface RunRecord {
  point: string;
  seed: number;
  /** Below the folder of the experiment. */
  folder: string;
  /**
   * "diverged": a loss or a gradient was not finite any more, which is a result. "failed": for another reason, which is
   * none. "begun": it can go on.
   */
  status: "finished" | "diverged" | "failed" | "begun";
  /** Top-1 error in % that counts: the median of the last five epochs as in the paper, of fewer the last. */
  error?: number;
  /** Of training and tests. */
  seconds: number;
  /** Share of its steps that are done. */
  done: number;
  /** Whether it is no better than a guess. */
  isGuess?: true;
  /** Why it failed or diverged. */
  reason?: string;
  /** Errors in % after each epoch; null for what is not known. */
  epochs: { train: number | null; test: number }[];
  /** Of each step, null where it is not finite; of a remark's run alone, others have theirs in their folders. */
  losses: (number | null)[];
}

/** The code of the error that ends a run whose numbers are not finite. */
const diverged = "ERR_ONEHOUR_NOT_FINITE";

/** Error in % of a guess, where all classes have as many images. */
export const guessError = (classes: number): number => 100 * (1 - 1 / classes);

function statusOf({ status, end }: RunData): RunRecord["status"] {
  if (status === "finished") return "finished";
  if (status !== "failed") return "begun";
  return end?.code === diverged ? "diverged" : "failed";
}

/**
 * The error that counts. A run that diverged counts with that of a guess: so does one that collapsed to it with finite
 * numbers, and to leave either out would flatter what makes runs diverge.
 */
function errorOf(run: RunData, status: RunRecord["status"], classes: number): number | undefined {
  if (status === "diverged") return guessError(classes);
  const last = run.epochs.at(-1);
  if (status !== "finished" || !last) return undefined;
  return medianTop1Error(run.epochs) ?? 100 * (1 - last.top1);
}

const percent = (fraction: unknown) => (typeof fraction === "number" ? 100 * (1 - fraction) : null);

function doneShare({ recipe, steps, epochs }: RunData): number {
  const last = steps.at(-1);
  if (!last) return 0;
  const ofSteps = recipe.steps === undefined ? 0 : (last.step + 1) / Number(recipe.steps);
  const ofEpochs = (last.epochs ?? epochs.length) / Number(recipe.epochs);
  return Math.min(1, Math.max(ofSteps, ofEpochs));
}

export function recordOf({ point, seed, name }: Task, run: RunData, classes: number): RunRecord {
  const status = statusOf(run);
  const error = errorOf(run, status, classes);
  const { epochs, steps, end } = run;
  return {
    point: point.id,
    seed,
    folder: join(runsName, name),
    status,
    ...(error === undefined ? {} : { error }),
    ...(error !== undefined && error >= guessError(classes) ? { isGuess: true } : {}),
    seconds: end?.seconds ?? steps.at(-1)?.seconds ?? 0,
    done: error === undefined ? doneShare(run) : 1,
    ...(end?.reason === undefined ? {} : { reason: end.reason }),
    epochs: epochs.map(({ top1, trainTop1 }) => ({
      train: percent(trainTop1),
      test: 100 * (1 - top1),
    })),
    losses: point.once ? steps.map(({ loss }) => (Number.isFinite(loss) ? loss : null)) : [],
  };
}

/**
 * Reads the run of a task from its folder; undefined where it has not begun.
 * @throws OnehourError ERR_ONEHOUR_RUN_FOLDER where it cannot be read.
 */
export async function readRecord(
  out: string,
  task: Task,
  classes: number,
): Promise<RunRecord | undefined> {
  const folder = join(out, runsName, task.name);
  if (!isThere(join(folder, recipeName))) return undefined;
  const [run] = await readRuns([folder]);
  return recordOf(task, run!, classes);
}
