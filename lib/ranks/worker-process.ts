// One worker process of a launch: how it is started, what it reports, and how its end is described.
import { type ChildProcess, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { explainSystemError } from "../system/system-errors.js";
import type { ErrorReport } from "./error-report.js";
import type { InterruptionReport, LauncherReport } from "./report.js";
import { type EndingSignal, isEndingSignal } from "./signals.js";
import type { Failure, Heartbeat } from "./supervise.js";

export const heartbeatFd = 3;
// From a worker's end to the end of its output, which its own children may hold open.
const drainSeconds = 0.5;

/** Node's arguments that load what comes before a worker's program. */
function preloads(): string[] {
  const own = import.meta.url;
  const [, ending] = own.split(/(?=\.[jt]s$)/);
  const modules = ["guard", "worker"].map((name) => new URL(name + ending, own).href);
  if (ending === ".ts") {
    // In a checkout's sources, TypeScript is loaded too.
    const jiti = pathToFileURL(createRequire(own).resolve("jiti/package.json"));
    modules.unshift(new URL("lib/jiti-register.mjs", jiti).href);
  }
  const imports = modules.flatMap((module) => ["--import", module]);
  // Until the guard is loaded, too, SIGUSR1 is not to open a debugger; Node 20 has no such flag.
  const flag = "--disable-sigusr1";
  return process.allowedNodeEnvironmentFlags.has(flag) ? [flag, ...imports] : imports;
}

/** One worker process with its output and its heartbeat pipe. */
export class Worker {
  onLine: (rank: number, line: string, stream: "stdout" | "stderr") => void = () => {};
  onHeartbeat: (beat: Heartbeat) => void = () => {};
  onFailure: (failure: Failure) => void = () => {};
  onInterrupted: (signal: EndingSignal) => void = () => {};
  onExit: () => void = () => {};
  /** Whether this is how a worker ends that was asked to. */
  obeyed: (code: number | null, signal: NodeJS.Signals | null) => boolean = () => false;
  /** Resolves when the process has ended and its output was read. */
  readonly ended: Promise<void>;
  private readonly child: ChildProcess;
  /** The process ended with status 0. */
  succeeded = false;
  private running = true;
  private reported = false;
  private lastError = "";

  constructor(
    private readonly rank: number,
    command: readonly string[],
    env: NodeJS.ProcessEnv,
  ) {
    // A process group of its own: the terminal's Ctrl-C reaches it through us alone, and what it
    // starts ends with it.
    this.child = spawn(process.execPath, [...preloads(), ...command], {
      env,
      detached: true,
      stdio: ["pipe", "pipe", "pipe", "pipe"],
    });
    this.child.stdin?.on("error", () => {});
    const read = [
      this.eachLine(this.child.stdout, (line) => this.onLine(rank, line, "stdout")),
      this.eachLine(this.child.stderr, (line) => {
        if (line.trim() !== "") this.lastError = line.trim();
        this.onLine(rank, line, "stderr");
      }),
      this.eachLine(this.child.stdio?.[heartbeatFd] as Readable | undefined, (line) =>
        this.hear(line),
      ),
    ];
    this.ended = new Promise((resolve) => {
      this.child.once("error", (error) => {
        this.finish();
        this.report(`could not be started: ${explainSystemError(error) ?? error.message}`, []);
        resolve();
      });
      this.child.once("exit", (code, signal) => {
        // Ends what the worker left in its group, before another process can get its pid.
        this.signal("SIGKILL");
        this.succeeded = code === 0;
        this.finish();
        const drained = Promise.race([Promise.all(read), delay(drainSeconds)]);
        void drained.then(() => {
          if (code !== 0 && !this.obeyed(code, signal))
            this.report(this.describeEnd(code, signal), [], { killed: signal === "SIGKILL" });
          resolve();
        });
      });
    });
  }

  /** Writes a line to the worker's standard input. */
  send(message: LauncherReport): void {
    this.child.stdin?.write(`${JSON.stringify(message)}\n`);
  }

  /** Signals the worker and what it started; nothing after its end. */
  signal(signal: NodeJS.Signals): void {
    const { pid } = this.child;
    if (!this.running || pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // The group is gone.
    }
  }

  private finish(): void {
    this.running = false;
    this.onExit();
  }

  private async eachLine(
    stream: Readable | null | undefined,
    take: (line: string) => void,
  ): Promise<void> {
    if (!stream) return; // the process could not be started
    stream.on("error", () => {});
    for await (const line of createInterface({ input: stream, crlfDelay: Infinity })) take(line);
  }

  private hear(line: string): void {
    let message: Partial<Heartbeat & ErrorReport & InterruptionReport>;
    try {
      message = JSON.parse(line);
    } catch {
      return; // Cut off by the end of the process.
    }
    const { progress, waiting, running, reading, error, interrupted } = message;
    if (isEndingSignal(interrupted)) this.onInterrupted(interrupted);
    else if (error !== undefined)
      this.report(error.message, error.stack, { code: error.code, secondary: error.secondary });
    else if (
      typeof progress === "number" &&
      typeof waiting === "number" &&
      typeof running === "number" &&
      typeof reading === "number"
    )
      this.onHeartbeat({ progress, waiting, running, reading });
  }

  private report(
    message: string,
    details: readonly string[],
    {
      code,
      secondary = false,
      killed = false,
    }: Partial<Pick<Failure, "code" | "secondary" | "killed">> = {},
  ): void {
    if (this.reported) return;
    this.reported = true;
    const suffix = code === undefined ? "" : ` (${code})`;
    const text = `${message}${suffix}`;
    this.onFailure({ rank: this.rank, message: text, code, details, secondary, killed });
  }

  private describeEnd(code: number | null, signal: NodeJS.Signals | null): string {
    const last = this.lastError === "" ? "" : `; the last line of its stderr: ${this.lastError}`;
    if (signal === "SIGKILL")
      return `was killed (SIGKILL)${last}. If nobody did that on purpose, memory ran out: see dmesg`;
    if (signal !== null) return `was ended by ${signal}${last}`;
    // Node's status for a program that awaits a promise which never settles.
    const meaning = code === 13 ? ": a top-level await never ended" : "";
    return `exited with status ${code}${meaning}${last}`;
  }
}

function delay(time: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, time * 1000).unref();
  });
}
