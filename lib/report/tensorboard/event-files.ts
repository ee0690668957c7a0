// TensorBoard's event files of runs: written at once from a log, or while a run goes on.

import { readdir, rename, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { joined, writeAtomically } from "../../run-folder/files.js";
import { GrowingFile } from "../../run-folder/growing-file.js";
import type { LogFollower } from "../../run-folder/log.js";
import type { LogLine } from "../../run-folder/log-lines.js";
import { makeFolder } from "../../run-folder/run-folder.js";
import { trainingSeconds } from "../training-time.js";
import { RunEvents } from "./run-events.js";

/** The folder of a run folder in which a run's events lie. */
export const eventsName = "tensorboard";

const [prefix, suffix] = ["events.out.tfevents.", ".onehour"];

/** What of a run becomes events. */
export interface LoggedRun {
  /** The fields of its recipe. */
  recipe: object;
  /** Images of a step. */
  minibatch: number;
  lines: readonly LogLine[];
  /** When the last line was written, in ms since 1970; the lines before it are as long ago as they were trained. */
  end: number;
}

/** The records of a whole run. */
function* recordsOf(run: LoggedRun, events: RunEvents): Iterable<Buffer> {
  const { recipe, minibatch, lines, end } = run;
  const times = trainingSeconds(lines, minibatch);
  const begin = end / 1000 - (times.at(-1) ?? 0);
  yield* events.begin(recipe, begin);
  for (const [i, line] of lines.entries()) yield events.of(line, begin + times[i]!);
}

/** The event files in a folder that onehour wrote, the last one first, as TensorBoard orders them. */
async function ownFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  return names
    .filter((name) => name.startsWith(prefix) && name.endsWith(suffix))
    .sort()
    .reverse();
}

/** The name of an event file after `last`: its number are seconds since 1970, where they are not taken. */
function nameAfter(last = prefix): string {
  const taken = Number.parseInt(last.slice(prefix.length), 10) || 0;
  const number = Math.max(Math.floor(Date.now() / 1000), taken + 1);
  return `${prefix}${String(number).padStart(10, "0")}${suffix}`;
}

/**
 * Puts an event file with all of a run into a folder, which is made, in the place of the one before; other
 * files stay. Returns its path.
 */
export async function writeEvents(
  folder: string,
  run: LoggedRun,
  events = new RunEvents(),
): Promise<string> {
  await makeFolder(folder);
  const [last, ...older] = await ownFiles(folder);
  const path = join(folder, nameAfter(last));
  // TensorBoard reads every file with tfevents in its name.
  const unfinished = "events";
  await writeAtomically(folder, unfinished, joined(recordsOf(run, events)));
  await rename(join(folder, unfinished), path);
  // A TensorBoard that reads the last one goes on to the new one. Its Python reader stalls if the file that
  // it reads is gone (directory_watcher.py wants its size), so that it stays, empty, until the next comes.
  if (last !== undefined) await truncate(join(folder, last));
  for (const name of older) await rm(join(folder, name), { force: true });
  return path;
}

/** Writes the events of a run while it goes on: first those of its lines so far, then each as it is logged. */
export class EventLog implements LogFollower {
  private constructor(
    private readonly file: GrowingFile,
    private readonly events: RunEvents,
  ) {}

  /** Throws the system's error where the folder takes no file; afterwards a full disk is one warning. */
  static async open(folder: string, run: LoggedRun, warn: (text: string) => void) {
    const events = new RunEvents();
    const path = await writeEvents(folder, run, events);
    const names = { file: "TensorBoard's event file", piece: "event" };
    return new EventLog(new GrowingFile(path, names, warn), events);
  }

  write(line: LogLine): void {
    // Not Date.now(): the time of day may be set back.
    const now = (performance.timeOrigin + performance.now()) / 1000;
    this.file.write(this.events.of(line, now));
  }

  close(): void {
    this.file.close();
  }
}
