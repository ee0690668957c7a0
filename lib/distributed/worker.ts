// Loaded before anything else in every worker process that the launcher starts: the worker ends with
// the launcher, sends heartbeats, and reports the error that ends it.
import { writeSync } from "node:fs";
import { native } from "../native.js";

/** The last line of a failing worker on its heartbeat pipe. */
export interface ErrorReport {
  error: {
    message: string;
    code: string | undefined;
    stack: string[];
    /** A broken collective or rendezvous: some other rank is the cause. */
    secondary: boolean;
  };
}

const secondaryCodes = new Set(["ERR_COLLECTIVE", "ERR_ONEHOUR_RENDEZVOUS"]);
// A report is written in one piece, so it must fit into a pipe's atomic 4 KiB.
const messageLimit = 1500; // characters
const stackLimit = 8; // frames
const frameLimit = 160; // characters of a frame

export function reportOf(error: unknown): ErrorReport {
  const { message, code, stack } = error instanceof Error ? (error as NodeJS.ErrnoException) : {};
  const name = error instanceof Error && code === undefined ? `${error.name}: ` : "";
  return {
    error: {
      message: `${name}${message ?? String(error)}`.slice(0, messageLimit),
      code,
      stack: (stack?.split("\n") ?? [])
        .filter((line) => /^\s+at /.test(line) && !/node:internal|\/jiti\//.test(line))
        .slice(0, stackLimit)
        .map((line) => line.slice(0, frameLimit)),
      secondary: isSecondary(error),
    },
  };
}

function isSecondary(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (secondaryCodes.has((cause as NodeJS.ErrnoException).code ?? "")) return true;
  }
  return false;
}

function start(fd: number): void {
  const fail = (error: unknown) => {
    try {
      writeSync(fd, `${JSON.stringify(reportOf(error))}\n`);
    } catch {
      // The launcher is gone; so are we.
    }
    process.exit(1);
  };
  process.on("uncaughtException", fail);
  // The other end of stdin is the launcher's: when that closes, nobody is left to work for.
  process.stdin.on("error", () => {});
  process.stdin.on("close", () => process.kill(process.pid, "SIGKILL"));
  process.stdin.resume();
  (process.stdin as NodeJS.ReadStream & { unref?(): void }).unref?.();
  try {
    native.dieWithParent(Number(process.env.ONEHOUR_LAUNCHER));
    native.startHeartbeat(fd, Number(process.env.ONEHOUR_HEARTBEAT_INTERVAL));
  } catch (error) {
    fail(error);
  }
}

if (process.env.ONEHOUR_HEARTBEAT_FD !== undefined) start(Number(process.env.ONEHOUR_HEARTBEAT_FD));
