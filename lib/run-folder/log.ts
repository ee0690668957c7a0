// log.jsonl of a run folder: written line by line, and read again when the run goes on.

import { join } from "node:path";
import { OnehourError } from "../errors.js";
import { readRegular } from "../system/regular-file.js";
import { plural } from "../text/words.js";
import { isThere, replaceFile, unwritable } from "./files.js";
import { GrowingFile } from "./growing-file.js";
import { isLogLine, type LogLine } from "./log-lines.js";

export const logName = "log.jsonl";
export const unreadableName = "log.unreadable.txt";

interface ReadLog {
  lines: LogLine[];
  /** Lines that cannot be read, a character a byte. */
  unreadable: string[];
}

/** The lines of a log, which may have been cut short or damaged. */
export async function readLog(folder: string): Promise<ReadLog> {
  const read: ReadLog = { lines: [], unreadable: [] };
  for (const bytes of linesOf(await readBytes(folder, logName))) {
    const text = bytes.toString();
    if (text.trim() === "") continue;
    const line = parseLine(text);
    if (line) read.lines.push(line);
    else read.unreadable.push(bytes.toString("latin1"));
  }
  return read;
}

/** The lines of a file, one by one: millions of steps are longer than a string can be. */
function* linesOf(bytes: Buffer): Generator<Buffer> {
  for (let begin = 0; begin < bytes.length; ) {
    const found = bytes.indexOf(0x0a, begin);
    const end = found < 0 ? bytes.length : found;
    yield bytes.subarray(begin, end);
    begin = end + 1;
  }
}

/** A file's bytes; none where there is no file. */
async function readBytes(folder: string, name: string): Promise<Buffer> {
  const file = join(folder, name);
  if (!isThere(file)) return Buffer.alloc(0);
  try {
    return await readRegular(file);
  } catch (error) {
    throw new OnehourError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `cannot read ${file} (${(error as Error).message}); the run needs it to go on`,
    );
  }
}

function parseLine(text: string): LogLine | undefined {
  try {
    const value = JSON.parse(text);
    return isLogLine(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a log is that of a run which came to its end. */
export function isFinished(lines: readonly LogLine[]): boolean {
  const last = lines.at(-1);
  return last?.type === "end" && last.status === "finished";
}

interface Sorted {
  kept: LogLine[];
  /** Steps and epochs that are there twice or in another order, and steps of another epoch. */
  misplaced: LogLine[];
}

function sort(lines: readonly LogLine[], stepsPerEpoch: number): Sorted {
  const sorted: Sorted = { kept: [], misplaced: [] };
  const next = { step: 0, epoch: 0 };
  const belongs = (line: LogLine): boolean => {
    if (line.type !== "step" && line.type !== "epoch") return true;
    const { type, epoch } = line;
    const number = type === "step" ? line.step : epoch;
    if (number < next[type]) return false;
    if (type === "step" && epoch !== Math.floor(number / stepsPerEpoch)) return false;
    next[type] = number + 1;
    return true;
  };
  for (const line of lines) (belongs(line) ? sorted.kept : sorted.misplaced).push(line);
  return sorted;
}

/** What a log of `step` steps lacks, in words; undefined where it is whole. */
function describeMissing(kept: readonly LogLine[], step: number, stepsPerEpoch: number) {
  // The last epoch may still have to be evaluated.
  const wanted = { step, epoch: Math.max(0, Math.ceil(step / stepsPerEpoch) - 1) };
  const parts = (["step", "epoch"] as const).flatMap((type) => {
    const missing = wanted[type] - kept.filter((line) => line.type === type).length;
    return missing > 0 ? [`${missing} of its ${plural(wanted[type], type)}`] : [];
  });
  return parts.length > 0 ? parts.join(" and ") : undefined;
}

/**
 * Drops what comes after `step` steps: later steps, epochs not complete by then, and the end. Lines that
 * cannot be read or are out of place are kept in a file of their own. `say` is called with that, and with the
 * steps and epochs that are missing.
 */
export async function rewindLog(
  folder: string,
  step: number,
  stepsPerEpoch: number,
  say: (text: string) => void,
): Promise<LogLine[]> {
  const { lines, unreadable } = await readLog(folder);
  const isDone = (line: LogLine): boolean => {
    if (line.type === "step") return line.step < step;
    if (line.type === "epoch") return (line.epoch + 1) * stepsPerEpoch <= step;
    return line.type !== "end" && line.step <= step;
  };
  const done = lines.filter(isDone);
  const { kept, misplaced } = sort(done, stepsPerEpoch);
  const aside = [
    ...unreadable,
    ...misplaced.map((line) => Buffer.from(JSON.stringify(line)).toString("latin1")),
  ];
  if (aside.length > 0) {
    const earlier = await readBytes(folder, unreadableName);
    const added = aside.map((line) => Buffer.from(`${line}\n`, "latin1"));
    await replaceFile(folder, unreadableName, [earlier, ...added]);
    const lines = plural(aside.length, "line");
    const place = ` or ${aside.length === 1 ? "is" : "are"} out of place`;
    const problem = `cannot be read${misplaced.length > 0 ? place : ""}`;
    say(`warning: ${lines} of ${logName} ${problem}; kept in ${join(folder, unreadableName)}`);
  }
  const missing = describeMissing(kept, step, stepsPerEpoch);
  if (missing) say(`warning: ${logName} lacks ${missing}; the run goes on from its checkpoint`);
  await replaceFile(folder, logName, textsOf(kept));
  return kept;
}

function* textsOf(lines: readonly LogLine[]): Generator<string> {
  for (const line of lines) yield `${JSON.stringify(line)}\n`;
}

/** Writes the lines of a log somewhere else too. */
export interface LogFollower {
  write(line: LogLine): void;
  close(): void;
}

/** Appends to log.jsonl as `rewindLog` left it; each line goes to the system as it is written. */
export class Log {
  private readonly file: GrowingFile;
  private follower: LogFollower | undefined;

  /** Throws ERR_ONEHOUR_RUN_FOLDER. */
  constructor(folder: string, warn: (text: string) => void) {
    try {
      this.file = new GrowingFile(join(folder, logName), { file: "the log", piece: "line" }, warn);
    } catch (error) {
      throw unwritable(folder, error);
    }
  }

  /** Hands each line from here on to `follower`, which is closed with the log. */
  follow(follower: LogFollower | undefined): void {
    this.follower = follower;
  }

  /** Adds a line. Where the disk takes none, it waits for the next attempt, after one warning. */
  write(line: LogLine): void {
    this.file.write(Buffer.from(`${JSON.stringify(line)}\n`));
    this.follower?.write(line);
  }

  /** Writes the lines so far to the disk, so that no checkpoint outlives the lines of its steps. */
  async sync(): Promise<void> {
    await this.file.sync();
  }

  /**
   * Never throws; lines that the disk does not take now are lost, and a part of one, which is set aside when the
   * run goes on, is cut off where possible.
   */
  close(): void {
    this.file.close();
    this.follower?.close();
  }
}
