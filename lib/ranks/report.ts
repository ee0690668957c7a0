// Messages between a worker and its launcher, besides the heartbeats: on the pipe of these, and on standard input.
import { writeSync } from "node:fs";

/** A signal, to whichever rank, has ended its training, which is saved. */
export interface InterruptionReport {
  interrupted: NodeJS.Signals;
}

/** Written to rank 0's standard input when output of the launcher is lost. */
export interface LauncherReport {
  lost: string;
}

/** Whether a launcher of ours started this process; what that starts has the same variables. */
export function hasLauncher(): boolean {
  return process.env.ONEHOUR_LAUNCHER === String(process.ppid);
}

/** Writes a message as a line of JSON; nothing in a process that no launcher started. */
export function tellLauncher(message: object): void {
  if (!hasLauncher()) return;
  try {
    writeSync(Number(process.env.ONEHOUR_HEARTBEAT_FD), `${JSON.stringify(message)}\n`);
  } catch {
    // The launcher is gone, and so is this process soon.
  }
}
