// Brings the files of a run from the rank that has them to the folder of rank 0.

import { statSync } from "node:fs";
import { mkdir, rm, rmdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { native } from "../device/native.js";
import { OnehourError } from "../errors.js";
import type { Meeting } from "../ranks/meeting.js";
import { recipeName } from "../recipe/run-recipe.js";
import { readRegular } from "../system/regular-file.js";
import type { Stage } from "../terminal/stages.js";
import { bytesText } from "../text/words.js";
import { bestName, checkpointName, previousName } from "./checkpoint.js";
import { isThere, moveFile, unwritable, writeAtomically } from "./files.js";
import { type LockOptions, RunLock } from "./lock.js";
import { logName } from "./log.js";
import { incomingName, makeFolder } from "./run-folder.js";

/** In the order in which they take their places: a log may be ahead of its checkpoint, but not behind it. */
const names = [logName, bestName, previousName, checkpointName];
const sent = [...names, recipeName];

export interface TransferOptions extends LockOptions {
  /** Shows how far the copy is. */
  show: (stage: Stage) => void;
}

const nothing = new Uint8Array();

/**
 * Sends the run in the folder of rank `from` to that of rank 0; every rank takes part. A process that still
 * writes to either folder is waited for. A crash leaves what rank 0's folder held, or all that came. Rank 0 shows how
 * far it is.
 */
export async function transferRun(
  meeting: Meeting,
  folder: string,
  from: number,
  options: TransferOptions,
): Promise<void> {
  const isFirst = meeting.rank === 0;
  let lock: RunLock | undefined;
  try {
    if (meeting.rank === from) await untilFree(folder, options);
    // It may be the folder that rank 0 is about to lock.
    const sizes = await meeting.gather("run free", meeting.rank === from ? sizeOf(folder) : "");
    const copy = new Copy(Number(sizes[from]), isFirst ? options.show : () => {});
    if (isFirst) {
      await makeFolder(resolve(folder));
      lock = await RunLock.take(folder, options);
      await mkdir(join(folder, incomingName), { recursive: true });
    }
    for (const name of sent) {
      const isThereToSend = meeting.rank === from && isThere(join(folder, name));
      const own = isThereToSend ? await readRegular(join(folder, name)) : nothing;
      copy.begin(name);
      const all = await meeting.collect(`run ${name}`, own, (bytes) => copy.come(bytes));
      if (isFirst) await put(folder, name, all[from]!);
    }
    if (isFirst) await settle(folder);
  } catch (error) {
    if (error instanceof OnehourError) throw error;
    throw isFirst ? unwritable(folder, error) : unreadable(folder, error as Error);
  } finally {
    lock?.release();
  }
}

/** Bytes of the files that are sent, as text. */
const sizeOf = (folder: string) =>
  String(
    sent.reduce(
      (sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0),
      0,
    ),
  );

/** How far a copy is. */
class Copy {
  private name = "";
  /** Bytes of the files before, and with those of this one that have come. */
  private before = 0;
  private done = 0;

  constructor(
    private readonly all: number,
    private readonly show: (stage: Stage) => void,
  ) {}

  begin(name: string): void {
    this.name = name;
    this.before = this.done;
    this.come(0);
  }

  /** So many bytes of the file have come. */
  come(bytes: number): void {
    native.advanceProgress(); // a supervisor sees that this does not hang
    const { all, name } = this;
    this.done = this.before + bytes;
    this.show({
      text: "copying the run",
      share: all > 0 ? this.done / all : 1,
      details: [`${bytesText(this.done)} of ${bytesText(all)}`, name],
    });
  }
}

function unreadable(folder: string, { message }: Error): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_RUN_FOLDER",
    `cannot read the run in ${folder} (${message}); rank 0 needs it to go on. Make it readable`,
  );
}

/** Waits for the end of a process that writes to a folder. */
async function untilFree(folder: string, options: LockOptions): Promise<void> {
  try {
    (await RunLock.take(folder, options))?.release();
  } catch (error) {
    if (error instanceof OnehourError) throw error; // nobody writes where nobody can
  }
}

/** Keeps a file that came, of which another part may be there from an earlier attempt; without bytes there is none. */
async function put(folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const incoming = join(folder, incomingName);
  if (bytes.length === 0) await rm(join(incoming, name), { force: true });
  else await writeAtomically(incoming, name, [bytes]);
}

/**
 * Puts all files that came in their places. After any of them the folder holds a run that can go on or none: where
 * there was none, what makes it a run comes last.
 */
async function settle(folder: string): Promise<void> {
  const incoming = join(folder, incomingName);
  const isRun = isThere(join(folder, recipeName));
  for (const name of isRun ? [recipeName, ...names] : [...names, recipeName]) {
    if (isThere(join(incoming, name))) await moveFile(incoming, folder, name);
  }
  await rmdir(incoming);
}
