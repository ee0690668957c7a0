// The folder of a run: its name, its recipe and its log.

import {
  closeSync,
  existsSync,
  fdatasync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from "node:fs";
import { appendFile, mkdir, rm, rmdir, writeFile } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { promisify } from "node:util";
import { OnehourError } from "../errors.js";
import { bestName, checkpointName, previousName } from "./checkpoint.js";
import { isDiskFull, removeTemporary, writeAtomically } from "./files.js";
import { isLogLine } from "./log-lines.js";
import type { Recipe } from "./recipe.js";
import { type LockOptions, RunLock } from "./run-lock.js";
import { formatRecipe, recipeName } from "./run-recipe.js";

const logName = "log.jsonl";
const unreadableName = "log.unreadable.txt";

/** One line of log.jsonl. */
export type LogLine =
  | {
      type: "step";
      step: number;
      epoch: number;
      /** Data loss averaged over the step's kn images. */
      loss: number;
      lr: number;
      momentumFactor: number;
      imagesPerSecond: number;
    }
  | {
      type: "epoch";
      epoch: number;
      trainLoss: number;
      /** Fractions of the whole test set. */
      top1: number;
      top5: number;
      testLoss: number;
      testImages: number;
      /** Share of its steps' time in which a device waited for input, on the rank that waited longest. */
      inputWait: number;
      seconds: number;
    }
  | {
      /** What went wrong while the run went on. */
      type: "warning";
      /** Steps done. */
      step: number;
      text: string;
    }
  | {
      type: "end";
      status: "finished" | "interrupted" | "failed";
      /** Steps done. */
      steps: number;
      seconds: number;
      top1?: number;
      /** Median over the last five epochs, in %. */
      medianTop1Error?: number;
      reason?: string;
    };

/**
 * Makes `runs/<dataset>-<model>-<date>`, under the first such name that nobody has: of two runs
 * started at once each gets its own.
 */
export async function claimRunFolder(dataset: string, model: string): Promise<string> {
  const date = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  const name = join("runs", `${shortName(dataset)}-${model}-${date}`);
  for (let i = 1; ; i++) {
    const folder = i === 1 ? name : `${name}-${i}`;
    try {
      await makeFolder(resolve(dirname(folder)));
      await mkdir(folder);
      return folder;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw unwritable(folder, error);
    }
  }
}

/** Removes a folder that was claimed for a run which never began. */
export async function releaseRunFolder(folder: string): Promise<void> {
  await rmdir(folder).catch(() => {}); // it holds something, and is kept
}

/** An error for a run folder that cannot be written to, with what helps against its cause. */
function unwritable(folder: string, error: unknown): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_RUN_FOLDER",
    `cannot write to the run folder ${folder} (${(error as Error).message}); ` +
      `${isDiskFull(error) ? "free some space there, or" : ""} name another with --out`.trimStart(),
  );
}

function holdsRun(folder: string, found: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_RUN_FOLDER",
    `${folder} holds a run already (${found}); continue it with --resume, or name another --out`,
  );
}

/** Whether a file is there; a folder that may not be read is no answer. */
function isThere(file: string): boolean {
  try {
    statSync(file);
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw new OnehourError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `cannot read the run folder ${dirname(file)} (${message}); make it readable for this user, or ` +
        "name another with --out",
    );
  }
}

/** Refuses a folder that holds a run unless it is to be resumed, and one that holds none if it is. */
export function checkRunFolder(folder: string, resume: boolean): void {
  const found = [recipeName, logName, checkpointName, previousName].find((name) =>
    isThere(join(folder, name)),
  );
  if (found !== undefined && !resume) throw holdsRun(folder, found);
  if (resume && !isThere(join(folder, recipeName))) {
    throw new OnehourError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `${folder} holds no run to resume (looked for ${recipeName}); ` +
        "name the run folder with --out, or start one without --resume",
    );
  }
}

/**
 * Makes a folder and its parents. Node's own `recursive` tries for ever where a folder can hold
 * none, such as /proc.
 */
async function makeFolder(folder: string): Promise<void> {
  if (existsSync(folder)) return;
  await makeFolder(dirname(folder));
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error; // another run made it meanwhile
  });
}

/** A data set's kind, or the name of its folder. */
function shortName(dataset: string): string {
  return basename(isAbsolute(dataset) ? dataset : dataset.split(":")[0]!);
}

/**
 * Takes the lock of a run folder, which is made where the run is new, and clears away what a crash left
 * half written. Throws ERR_ONEHOUR_RUN_FOLDER where another process holds it, or wrote there before.
 */
export async function holdRunFolder(
  folder: string,
  resume: boolean,
  options: LockOptions,
): Promise<RunLock> {
  let lock: RunLock;
  try {
    if (!resume) await makeFolder(resolve(folder));
    lock = await RunLock.take(folder, options);
  } catch (error) {
    throw error instanceof OnehourError ? error : unwritable(folder, error);
  }
  try {
    checkRunFolder(folder, resume);
    const names = [recipeName, logName, checkpointName, previousName, bestName];
    for (const name of names) await removeTemporary(folder, name);
    return lock;
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Writes the recipe.json of a new run; where another run's is, this one is refused. */
export async function createRecipe(folder: string, recipe: Recipe): Promise<void> {
  const file = join(folder, recipeName);
  try {
    await writeFile(file, formatRecipe(recipe), { flag: "wx", flush: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw holdsRun(folder, recipeName);
    if (isDiskFull(error)) await rm(file, { force: true }).catch(() => {}); // it was cut short
    throw unwritable(folder, error);
  }
}

/** Writes recipe.json anew, for a run that continues with another `steps`. */
export async function updateRecipe(folder: string, recipe: Recipe): Promise<void> {
  await replace(folder, recipeName, formatRecipe(recipe));
}

async function replace(folder: string, name: string, text: string): Promise<void> {
  try {
    await writeAtomically(folder, name, [Buffer.from(text)]);
  } catch (error) {
    throw unwritable(folder, error);
  }
}

interface ReadLog {
  lines: LogLine[];
  /** Lines that are none, a character a byte. */
  unreadable: string[];
}

/** The lines of a log, which may have been cut short or damaged. */
export function readLog(folder: string): ReadLog {
  const file = join(folder, logName);
  const read: ReadLog = { lines: [], unreadable: [] };
  if (!isThere(file)) return read;
  for (const text of readText(file).split("\n")) {
    const line = parseLine(text);
    if (line) read.lines.push(line);
    else if (text.trim() !== "") read.unreadable.push(text);
  }
  return read;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "latin1");
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

/**
 * Drops what lies behind `step` steps: later steps, epochs not complete by then, and the end. Lines that
 * cannot be read are kept in a file of their own, and `say` is told.
 */
export async function rewindLog(
  folder: string,
  step: number,
  stepsPerEpoch: number,
  say: (text: string) => void,
): Promise<LogLine[]> {
  const { lines, unreadable } = readLog(folder);
  const kept = lines.filter(
    (line) =>
      (line.type === "step" && line.step < step) ||
      (line.type === "warning" && line.step <= step) ||
      (line.type === "epoch" && (line.epoch + 1) * stepsPerEpoch <= step),
  );
  if (unreadable.length > 0) {
    const text = unreadable.map((line) => `${line}\n`).join("");
    await append(folder, unreadableName, Buffer.from(text, "latin1"));
    const lines = unreadable.length === 1 ? "1 line" : `${unreadable.length} lines`;
    say(`warning: ${lines} of ${logName} cannot be read; kept in ${join(folder, unreadableName)}`);
  }
  await replace(folder, logName, kept.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return kept;
}

async function append(folder: string, name: string, bytes: Buffer): Promise<void> {
  try {
    await appendFile(join(folder, name), bytes, { flush: true });
  } catch (error) {
    throw unwritable(folder, error);
  }
}

/** log.jsonl, open for appending; each line is handed to the system as it is written. */
export class Log {
  private readonly descriptor: number;
  private broken = false;

  constructor(
    folder: string,
    private readonly warn: (text: string) => void,
  ) {
    this.descriptor = openSync(join(folder, logName), "a");
  }

  /** Appends a line; where the disk takes none it is lost, which is said once in a row. */
  write(line: LogLine): void {
    // After a line that was cut short, the next begins on a line of its own.
    const bytes = Buffer.from(`${this.broken ? "\n" : ""}${JSON.stringify(line)}\n`);
    try {
      if (writeSync(this.descriptor, bytes) < bytes.length) throw new Error("the disk is full");
      this.broken = false;
    } catch (error) {
      if (!this.broken) this.tell(error as Error);
      this.broken = true;
    }
  }

  /** Brings the lines so far to the disk, so that no checkpoint survives those of its steps. */
  async sync(): Promise<void> {
    await promisify(fdatasync)(this.descriptor).catch((error) => this.tell(error));
  }

  private tell({ message }: Error): void {
    this.warn(`cannot write to the log (${message})`);
  }

  close(): void {
    try {
      closeSync(this.descriptor);
    } catch (error) {
      this.tell(error as Error); // a network disk may say here that it took no line
    }
  }
}
