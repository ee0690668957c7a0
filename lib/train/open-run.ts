// Opens a run on rank 0: the lock of its folder, its weights, recipe and log.

import { join } from "node:path";
import { setting } from "../recipe/voice.js";
import { writeAtomically } from "../run-folder/files.js";
import type { RunLock } from "../run-folder/lock.js";
import { isFinished, Log, type LogFollower, readLog, rewindLog } from "../run-folder/log.js";
import type { LogLine } from "../run-folder/log-lines.js";
import type { Position } from "../run-folder/position.js";
import { environmentName, holdRunFolder, writeRecipe } from "../run-folder/run-folder.js";
import { stepsOf } from "../schedules/schedule.js";
import { environment } from "../system/environment.js";
import { plural, warning } from "../text/words.js";
import type { Result } from "./events.js";
import { type RunRecipe, requireStepsLeft } from "./prepare.js";
import type { EpochLine } from "./result.js";
import { type Saving, startOf } from "./saving.js";

/** Where a run begins; rank 0 sends it to the others. */
export interface Start {
  position: Position;
  /** The finished ones. */
  epochs: EpochLine[];
  /** The status of a run that ends at once, because nothing is left to do. */
  end?: Result["status"];
}

/** What rank 0 holds until the run's end. */
interface OpenRun {
  start: Start;
  lock: RunLock | undefined;
  log: Log | undefined;
}

interface OpenRunOptions {
  recipe: RunRecipe;
  resume: boolean;
  saving: Saving;
  /** Steps of the run in all. */
  total: number;
  stepsPerEpoch: number;
  /** Whether a signal has asked the run to end. */
  stopped: () => boolean;
  /** Shows a message to the user. */
  say: (text: string) => void;
}

/**
 * Opens a run. Its folder may still be held by a process that ends, when it is resumed; a signal breaks
 * off the wait for it. What is refused leaves no folder and no lock.
 */
export async function openRun(options: OpenRunOptions): Promise<OpenRun> {
  const { recipe, resume, saving, total, stepsPerEpoch, stopped, say } = options;
  const hold = (seconds: number) => holdRunFolder(recipe.out, resume, { seconds, stopped, say });
  let lock = resume ? await hold(recipe.timeout) : undefined;
  if (resume && !lock) {
    const start: Start = { position: startOf(recipe), epochs: [], end: "interrupted" };
    return { start, lock, log: undefined };
  }
  try {
    const position = await saving.restore(resume);
    const { step } = position;
    const lines = resume ? (await readLog(recipe.out)).lines : [];
    if (step >= total && isFinished(lines)) {
      const isShort = step < stepsOf(recipe.epochs, stepsPerEpoch);
      const hint = isShort ? `; to go on, give more than ${setting("steps", step)}` : "";
      const done = `${plural(step, "step")} ${step === 1 ? "is" : "are"} done`;
      say(`nothing is left to do: ${done}${hint}`);
      const start: Start = { position, epochs: epochsOf(lines), end: "finished" };
      return { start, lock, log: undefined };
    }
    requireStepsLeft(recipe, step);
    lock ??= await hold(0);
    await writeRecipe(recipe.out, recipe, saving.id);
    const kept = await rewindLog(recipe.out, step, stepsPerEpoch, say);
    const warn = (text: string) => say(warning(text));
    await writeEnvironment(recipe.out, warn);
    const log = new Log(recipe.out, warn);
    if (recipe.tensorboard) log.follow(await followWithEvents(recipe, kept, warn));
    return { start: { position, epochs: epochsOf(kept) }, lock, log };
  } catch (error) {
    lock?.release();
    throw error;
  }
}

/** Keeps what this process runs on; where that is not possible, warns, and the run goes on without. */
async function writeEnvironment(out: string, warn: (text: string) => void): Promise<void> {
  const text = `${JSON.stringify(environment(), null, 2)}\n`;
  try {
    await writeAtomically(out, environmentName, [Buffer.from(text)]);
  } catch (error) {
    warn(`${environmentName} could not be written (${(error as Error).message})`);
  }
}

/** Begins to write TensorBoard's events; where that is not possible, warns, and the run goes on without. */
async function followWithEvents(
  recipe: RunRecipe,
  lines: readonly LogLine[],
  warn: (text: string) => void,
): Promise<LogFollower | undefined> {
  const { EventLog, eventsName } = await import("../report/tensorboard/event-files.js");
  const folder = join(recipe.out, eventsName);
  const minibatch = recipe.workers * recipe.accumulate * recipe.batch;
  try {
    return await EventLog.open(folder, { recipe, minibatch, lines, end: Date.now() }, warn);
  } catch (error) {
    const { message } = error as Error;
    warn(`no events are written for TensorBoard: cannot write to ${folder} (${message})`);
    return undefined;
  }
}

function epochsOf(lines: readonly LogLine[]): EpochLine[] {
  return lines.filter((line) => line.type === "epoch");
}
