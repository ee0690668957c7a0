// The processes of an experiment's runs, as their parent sees them.
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { RunOrder, RunReport } from "./run-process.js";

const program = fileURLToPath(new URL("./run-process.js", import.meta.url));

/** Why a run ended without having trained to its end; nothing where it did, or where it was asked to stop. */
export interface RunFailure {
  message: string;
  code?: string;
}

/** What of a process' stderr says why it ended: Node's error, which its stack and version follow, or the last line. */
export function causeIn(stderr: string): string | undefined {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  return lines.findLast((line) => /^\w*Error\b/.test(line)) ?? lines.at(-1);
}

/** Characters of a process' stderr that are kept. */
const mostKept = 10_000;

export class RunProcess {
  /** Share of the steps that is done. */
  done: number;
  /** Resolves when the process has ended. */
  readonly ended: Promise<RunFailure | undefined>;
  private readonly child: ChildProcess;
  private isStopped = false;
  private failure: RunFailure | undefined;
  private stderr = "";

  constructor(order: RunOrder, done: number) {
    this.done = done;
    // A group of its own: a terminal's Ctrl-C reaches it through its parent alone. Without what a launcher had its
    // worker load, which makes a process one of its ranks.
    this.child = fork(program, [JSON.stringify(order)], {
      detached: true,
      execArgv: [],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.child.on("message", (report: RunReport) => {
      if ("failed" in report) this.failure = report.failed;
      else this.done = report.done;
    });
    this.child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.stderr = (this.stderr + text).slice(-mostKept);
    });
    this.ended = new Promise((resolve) => {
      this.child.once("error", ({ message }) =>
        resolve({ message: `it could not be started: ${message}` }),
      );
      this.child.once("close", (status, signal) => resolve(this.endOf(status, signal)));
    });
  }

  /** Has the run save and end; a second time, end at once. */
  stop(): void {
    this.isStopped = true;
    this.child.kill("SIGTERM");
  }

  private endOf(status: number | null, signal: NodeJS.Signals | null): RunFailure | undefined {
    if (this.failure) return this.failure;
    if (status === 0 || this.isStopped) return undefined;
    const cause = causeIn(this.stderr);
    const last = cause === undefined ? "" : `; it said: ${cause}`;
    const how = signal === null ? `it exited with status ${status}` : `it was ended by ${signal}`;
    return { message: `${how}${last}` };
  }
}
