// A lock lets one process write to a run folder; the system gives it back when the process ends. Readers
// need none, since files are replaced as a whole. It locks the folder itself, whatever becomes of the files in
// it, and run.lock, which names the holder: network disks lock only files that can be written.

import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { native } from "../device/native.js";
import { OnehourError } from "../errors.js";
import { nameOf } from "../recipe/voice.js";
import { readText } from "../system/regular-file.js";
import { isThere } from "./files.js";

export const lockName = "run.lock";
const pollMilliseconds = 250;
// What is written to is the folder's own, not what a link in it names.
const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;

export interface LockOptions {
  /** Seconds to wait for another process that holds it. */
  seconds: number;
  /** Whether a signal has ended the wait. */
  stopped?: () => boolean;
  /** Shows a message to the user. */
  say: (text: string) => void;
  tryLock?: typeof native.tryLockFile;
}

interface Holder {
  pid: number;
  host: string;
}

/** The process that holds a lock, as its file names it; undefined where that is not written yet, or cannot be read. */
async function holderOf(file: string): Promise<Holder | undefined> {
  try {
    const { pid, host } = JSON.parse(await readText(file));
    if (Number.isSafeInteger(pid) && pid > 0 && typeof host === "string") return { pid, host };
  } catch {}
  return undefined;
}

/**
 * Whether a process holds a folder's lock, as far as run.lock tells, which a process that was killed leaves
 * behind: one of this host can be looked for. For readers, who take no lock.
 */
export async function isHeld(folder: string): Promise<boolean> {
  const file = join(folder, lockName);
  if (!isThere(file)) return false;
  const holder = await holderOf(file);
  if (holder?.host !== hostname()) return true;
  try {
    return process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Whether a name still is that of an open file: who releases a lock removes its file. */
function isNameOf(file: string, descriptor: number): boolean {
  const { dev, ino } = fstatSync(descriptor);
  const found = statSync(file, { throwIfNoEntry: false });
  return found?.dev === dev && found.ino === ino;
}

export class RunLock {
  private constructor(
    private readonly file: string,
    /** Open, and locked as far as their file system can. */
    private readonly descriptors: readonly number[],
  ) {}

  /**
   * Locks a folder that is there; undefined where `stopped` turned true first. Throws
   * ERR_ONEHOUR_RUN_FOLDER naming the process that holds it, and what the system says of a folder that it
   * cannot write to.
   */
  static async take(folder: string, options: LockOptions): Promise<RunLock | undefined> {
    const { seconds, stopped = () => false, say } = options;
    const file = join(folder, lockName);
    const deadline = performance.now() + 1000 * seconds;
    for (let isFirst = true; ; isFirst = false) {
      const lock = RunLock.attempt(file, folder, options);
      if (lock) return lock;
      const named = await holderOf(file);
      const holder = named ? `process ${named.pid} on ${named.host}` : "another process";
      if (performance.now() >= deadline) {
        throw new OnehourError(
          "ERR_ONEHOUR_RUN_FOLDER",
          `${folder} is in use: ${holder} writes to it (${file}). Wait for its end or stop it, or ` +
            `name another ${nameOf("out")}. On a network disk the lock of a machine that died may ` +
            "outlive it for some minutes",
        );
      }
      if (stopped()) return undefined;
      if (isFirst) say(`waiting up to ${seconds} s for ${folder}, to which ${holder} writes`);
      native.advanceProgress(); // the ranks that wait for this one see that it does not hang
      await setTimeout(pollMilliseconds);
    }
  }

  /** The lock, unless another process holds it. */
  private static attempt(
    file: string,
    folder: string,
    { say, tryLock = native.tryLockFile }: LockOptions,
  ): RunLock | undefined {
    const descriptors: number[] = [];
    try {
      const whole = lockFolder(folder, tryLock, descriptors);
      while (whole !== "held") {
        const descriptor = openSync(file, flags);
        descriptors.push(descriptor);
        const result = tryLock(descriptor);
        if (result === "held") break;
        if (result === "taken" && !isNameOf(file, descriptor)) continue; // it was released meanwhile
        if (result === "unsupported" && whole === "unsupported") {
          say(
            `warning: the file system of ${folder} has no locks; nothing keeps a second run from ` +
              "writing there at the same time",
          );
        }
        sign(descriptor);
        return new RunLock(file, descriptors);
      }
    } catch (error) {
      closeAll(descriptors);
      throw error;
    }
    closeAll(descriptors);
    return undefined;
  }

  /** Never throws: what counts is that the descriptors are closed, and a file that stays locks nothing. */
  release(): void {
    try {
      rmSync(this.file, { force: true });
    } catch {}
    closeAll(this.descriptors);
  }
}

/** Locks a folder as such, through a descriptor that is added to `descriptors`. */
function lockFolder(
  folder: string,
  tryLock: typeof native.tryLockFile,
  descriptors: number[],
): ReturnType<typeof native.tryLockFile> {
  try {
    const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    descriptors.push(descriptor);
    return tryLock(descriptor);
  } catch {
    return "unsupported"; // as on a network disk, and where it may not be read
  }
}

/** Names this process in the lock's file; where the disk is full the lock holds without. */
function sign(descriptor: number): void {
  const text = `${JSON.stringify({ pid: process.pid, host: hostname() })}\n`;
  try {
    ftruncateSync(descriptor);
    writeSync(descriptor, text, 0);
  } catch {}
}

function closeAll(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) {
    try {
      closeSync(descriptor);
    } catch {}
  }
}
