// What a worker tells its launcher beside the heartbeats, on their pipe, and what it is told.
import { writeSync } from "node:fs";

/** A signal, to whichever rank, has ended its training, which is saved. */
export interface InterruptionReport {
  interrupted: NodeJS.Signals;
}

/** Told to rank 0 on its standard input: what the launcher prints is lost. */
export interface LauncherReport {
  lost: string;
}

/** Writes a message as a line of JSON; nothing in a process that no launcher started. */
export function tellLauncher(message: object): void {
  const descriptor = process.env.ONEHOUR_HEARTBEAT_FD;
  if (descriptor === undefined) return;
  try {
    writeSync(Number(descriptor), `${JSON.stringify(message)}\n`);
  } catch {
    // The launcher is gone, and so is this process soon.
  }
}
