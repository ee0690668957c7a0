// log.jsonl of a run folder: written line by line, and read again when the run goes on.

import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { OnehourError } from "../errors.js";
import { readRegular } from "../system/regular-file.js";
import { plural } from "../text/words.js";
import { isThere, replaceFile, unwritable } from "./files.js";
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
  for (const text of (await readText(folder, logName)).split("\n")) {
    const line = parseLine(text);
    if (line) read.lines.push(line);
    else if (text.trim() !== "") read.unreadable.push(text);
  }
  return read;
}

/** A file's bytes, a character each; empty where there is no file. */
async function readText(folder: string, name: string): Promise<string> {
  const file = join(folder, name);
  if (!isThere(file)) return "";
  try {
    return (await readRegular(file)).toString("latin1");
  } catch (error) {
    throw new OnehourError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `cannot read ${file} (${(error as Error).message}); the run needs it to go on`,
    );
  }
}

function parseLine(bytes: string): LogLine | undefined {
  try {
    const value = JSON.parse(Buffer.from(bytes, "latin1").toString());
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
  const done = lines.filter(
    (line) =>
      (line.type === "step" && line.step < step) ||
      ((line.type === "warning" || line.type === "restart") && line.step <= step) ||
      (line.type === "epoch" && (line.epoch + 1) * stepsPerEpoch <= step),
  );
  const { kept, misplaced } = sort(done, stepsPerEpoch);
  const aside = [
    ...unreadable,
    ...misplaced.map((line) => Buffer.from(JSON.stringify(line)).toString("latin1")),
  ];
  if (aside.length > 0) {
    const text = (await readText(folder, unreadableName)) + textOf(aside);
    await replaceFile(folder, unreadableName, Buffer.from(text, "latin1"));
    const lines = plural(aside.length, "line");
    const place = ` or ${aside.length === 1 ? "is" : "are"} out of place`;
    const problem = `cannot be read${misplaced.length > 0 ? place : ""}`;
    say(`warning: ${lines} of ${logName} ${problem}; kept in ${join(folder, unreadableName)}`);
  }
  const missing = describeMissing(kept, step, stepsPerEpoch);
  if (missing) say(`warning: ${logName} lacks ${missing}; the run goes on from its checkpoint`);
  await replaceFile(folder, logName, textOf(kept.map((line) => JSON.stringify(line))));
  return kept;
}

const textOf = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join("");

/** Appends to log.jsonl as `rewindLog` left it; each line goes to the system as it is written. */
export class Log {
  private readonly descriptor: number;
  /** Bytes of whole lines in the file. */
  private end: number;
  /** Lines that are not on the disk yet, the first perhaps in part, which the next attempt overwrites. */
  private readonly waiting: Buffer[] = [];
  private isWarned = false;

  /** Throws ERR_ONEHOUR_RUN_FOLDER. */
  constructor(
    folder: string,
    private readonly warn: (text: string) => void,
  ) {
    try {
      this.descriptor = openSync(join(folder, logName), "r+");
      this.end = fstatSync(this.descriptor).size;
    } catch (error) {
      throw unwritable(folder, error);
    }
  }

  /** Adds a line. Where the disk takes none, it waits for the next attempt, after one warning. */
  write(line: LogLine): void {
    this.waiting.push(Buffer.from(`${JSON.stringify(line)}\n`));
    this.flush();
  }

  private flush(): void {
    try {
      for (let line = this.waiting[0]; line; line = this.waiting[0]) {
        this.put(line);
        this.end += line.length;
        this.waiting.shift();
      }
      this.isWarned = false;
    } catch (error) {
      if (!this.isWarned) this.warnOf(error as Error, "; its lines wait until that is possible");
      this.isWarned = true;
    }
  }

  private put(line: Buffer): void {
    for (let at = 0; at < line.length; ) {
      const written = writeSync(this.descriptor, line, at, line.length - at, this.end + at);
      if (written === 0) throw new Error("the disk is full");
      at += written;
    }
  }

  /** Writes the lines so far to the disk, so that no checkpoint outlives the lines of its steps. */
  async sync(): Promise<void> {
    this.flush();
    await promisify(fdatasync)(this.descriptor).catch((error) => this.warnOf(error));
  }

  private warnOf({ message }: Error, consequence = ""): void {
    this.warn(`cannot write to the log (${message})${consequence}`);
  }

  /** Never throws; lines that the disk does not take now are lost, and a part of one is cut off. */
  close(): void {
    this.flush();
    const { length } = this.waiting;
    if (length > 0) this.warn(`the last ${plural(length, "line")} of the log could not be written`);
    try {
      if (length > 0) ftruncateSync(this.descriptor, this.end);
    } catch {} // the part is set aside when the run goes on
    try {
      closeSync(this.descriptor);
    } catch (error) {
      this.warnOf(error as Error); // a network disk may say here that it took no line
    }
  }
}
