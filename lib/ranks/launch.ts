// Starts k workers on this machine, shows their output, watches over them and ends them together.
import { randomBytes } from "node:crypto";
import { requireProcesses } from "../device/cores.js";
import { requireOptions } from "../recipe/options.js";
import { listenForLosses } from "../system/output.js";
import { commandLine, commandVariable } from "../text/command.js";
import { oneLine, printable } from "../text/words.js";
import { nameRanks } from "./rendezvous.js";
import { RendezvousServer } from "./rendezvous-server.js";
import {
  type EndingSignal,
  hangupVariable,
  ignoresHangup,
  listenForEnd,
  signalStatus,
} from "./signals.js";
import { causeOf, type Failure, type Verdict, Watch } from "./supervise.js";
import { heartbeatFd, Worker } from "./worker-process.js";

/** What to start and how to watch it. */
export interface LaunchOptions {
  /** k, the number of processes. */
  workers: number;
  /** Node's arguments for a rank: the module to run and its own arguments. */
  command: (rank: number) => string[];
  /** Seconds without progress after which a rank that others wait for counts as hung. */
  timeoutSeconds: number;
  /** What a user does whose steps take longer; "raise timeoutSeconds" by default. */
  remedy?: string;
  /** Added to this process' environment. */
  env?: Record<string, string>;
  /** Takes a worker's line of output; by default it goes where the worker wrote it. */
  onLine?: (rank: number, line: string, stream: "stdout" | "stderr") => void;
  /**
   * Takes the cause of a failed run, one line that names the rank and its error, after the details
   * (a stack, the table of a hang) were shown, and the error's code if it had one; by default the
   * cause is shown as the last line of stderr.
   */
  onFailure?: (cause: string, code?: string) => void;
}

const optionNames = [
  "workers",
  "command",
  "timeoutSeconds",
  "remedy",
  "env",
  "onLine",
  "onFailure",
] as const satisfies (keyof LaunchOptions)[];

const tickSeconds = 0.2;
// A broken collective is mostly another rank's fault: we wait this long to hear from that one.
const causeSeconds = 1;
// From SIGTERM to SIGKILL when a run has failed.
const graceSeconds = 2;

/**
 * Starts k workers and resolves to the exit status when all have ended: 0 on success, 1 when one failed or hung,
 * 128 and the signal's number after one of `signals.ts` to this process, or to a worker whose training it ended.
 * The first such signal to this process is passed on to the workers, so that they may save and end; a second one
 * kills them. When a worker fails, or makes no progress while the others wait or while it reads its data set, all
 * are ended within 5 s and the last line on stderr names the rank and its error. Throws ERR_ONEHOUR_USAGE for an
 * option that there is not. Call it on the main thread: workers end with the thread that started them.
 */
export async function launch(options: LaunchOptions): Promise<number> {
  requireOptions(options, "launch", optionNames);
  requireProcesses(options.workers);
  const token = randomBytes(32).toString("hex");
  const server = await RendezvousServer.listen({ worldSize: options.workers, token });
  try {
    return await new Launch(options, server, token).run();
  } finally {
    await server.close();
  }
}

/** The workers of one launch, from their start to their end. */
class Launch {
  private readonly workers: Worker[] = [];
  private readonly watch: Watch;
  private readonly failures: Failure[] = [];
  private verdict: Verdict | undefined;
  /** The signal that this process has passed on, or that ended the workers' training. */
  private interruption: EndingSignal | undefined;
  private passedOn = false;
  /** The signal came twice. */
  private impatient = false;
  /** Statuses and names with which workers may end because of a signal that they were sent. */
  private readonly obedient = new Set<number | NodeJS.Signals | null>();
  private stopping = false;
  private readonly timers = new Set<NodeJS.Timeout>();

  constructor(
    private readonly options: LaunchOptions,
    private readonly server: RendezvousServer,
    private readonly token: string,
  ) {
    const { workers, timeoutSeconds, remedy } = options;
    this.watch = new Watch(workers, timeoutSeconds, seconds(), remedy);
  }

  async run(): Promise<number> {
    const unlisten = listenForEnd((signal) => this.interrupt(signal));
    let unlistenLosses = () => {};
    const tick = setInterval(() => this.check(), tickSeconds * 1000);
    try {
      for (let rank = 0; rank < this.options.workers; rank++) this.start(rank);
      // Rank 0 may keep a log.
      unlistenLosses = listenForLosses((text) => this.workers[0]!.send({ lost: text }));
      await Promise.all(this.workers.map((worker) => worker.ended));
    } finally {
      clearInterval(tick);
      for (const timer of this.timers) clearTimeout(timer);
      for (const worker of this.workers) worker.signal("SIGKILL");
      unlisten();
      unlistenLosses();
    }
    return this.conclude();
  }

  private start(rank: number): void {
    const { options } = this;
    const worker = new Worker(rank, options.command(rank), {
      ...process.env,
      ...options.env,
      ONEHOUR_RANK: String(rank),
      ONEHOUR_WORLD_SIZE: String(options.workers),
      ONEHOUR_LOCAL_RANK: String(rank),
      ONEHOUR_LOCAL_WORLD_SIZE: String(options.workers),
      ONEHOUR_RENDEZVOUS: `127.0.0.1:${this.server.port}`,
      ONEHOUR_TOKEN: this.token,
      [commandVariable]: commandLine(),
      [hangupVariable]: ignoresHangup() ? "ignored" : "ends",
      ONEHOUR_TIMEOUT: String(options.timeoutSeconds),
      ONEHOUR_LAUNCHER: String(process.pid),
      ONEHOUR_HEARTBEAT_FD: String(heartbeatFd),
      ONEHOUR_HEARTBEAT_INTERVAL: String(
        Math.max(1, Math.round(Math.min(250, (options.timeoutSeconds * 1000) / 10))),
      ),
    });
    this.workers.push(worker);
    worker.onLine = options.onLine ?? showLine;
    worker.onHeartbeat = (beat) => this.watch.heartbeat(rank, beat, seconds());
    worker.onFailure = (failure) => this.fail(failure);
    worker.onInterrupted = (signal) => this.note(signal);
    worker.onExit = () => this.watch.finished(rank);
    worker.obeyed = (code, signal) =>
      this.obedient.has(code ?? signal) || (signal === "SIGKILL" && this.impatient);
  }

  private note(signal: EndingSignal): void {
    this.interruption ??= signal;
    for (const sent of [signal, forwarded(signal)]) this.obedient.add(sent).add(signalStatus(sent));
  }

  private fail(failure: Failure): void {
    // Workers that we end ourselves have not failed.
    if (this.stopping || this.verdict !== undefined) return;
    if (this.interruption !== undefined && failure.secondary) return;
    this.failures.push(failure);
    if (failure.secondary) this.after(causeSeconds, () => this.stop());
    else this.stop();
  }

  private check(): void {
    if (this.stopping) return;
    this.verdict = this.watch.check(seconds(), (rank) => {
      const key = this.server.waiting(rank)?.key;
      return key === undefined ? undefined : `at the rendezvous "${key}"`;
    });
    if (this.verdict !== undefined) this.stop();
  }

  private interrupt(signal: EndingSignal): void {
    this.impatient = this.passedOn;
    this.passedOn = true;
    this.note(signal);
    for (const worker of this.workers) {
      worker.signal(this.impatient ? "SIGKILL" : forwarded(signal));
      worker.signal("SIGCONT");
    }
  }

  /** Ends all workers: first with SIGTERM, stopped ones continued so that they see it. */
  private stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    for (const worker of this.workers) {
      worker.signal("SIGTERM");
      worker.signal("SIGCONT");
    }
    this.after(graceSeconds, () => {
      for (const worker of this.workers) worker.signal("SIGKILL");
    });
  }

  private after(delay: number, action: () => void): void {
    this.timers.add(setTimeout(action, delay * 1000));
  }

  /** Shows what went wrong, the cause last. */
  private conclude(): number {
    const cause = causeOf(this.failures);
    const { onFailure = (line) => show([`onehour: ${line}`]) } = this.options;
    if (this.verdict !== undefined) {
      show(["the run hangs:", ...this.verdict.table]);
      onFailure(this.verdict.message);
    } else if (cause !== undefined) {
      show(cause.details);
      onFailure(this.word(cause), cause.code);
    }
    if (this.verdict !== undefined || cause !== undefined) return 1;
    return this.interruption === undefined ? 0 : signalStatus(this.interruption);
  }

  private word({ rank, message, secondary }: Failure): string {
    const line = oneLine(message);
    const named = /^rank (\d+)[ :]/.exec(line)?.[1] === `${rank}` ? line : `rank ${rank}: ${line}`;
    // Peers that left early broke the connection, although they did not fail.
    const left = this.workers.flatMap((worker, other) => (worker.succeeded ? [other] : []));
    const early = secondary && left.length > 0 && this.failures.length < this.workers.length;
    return early ? `${named}. Before that ${nameRanks(left)} ended with status 0` : named;
  }
}

/** The signal that is passed on to workers: SIGUSR1 would open Node's debugger in one that has just begun. */
function forwarded(signal: EndingSignal): EndingSignal {
  return signal.startsWith("SIGUSR") ? "SIGTERM" : signal;
}

function showLine(rank: number, line: string, stream: "stdout" | "stderr"): void {
  process[stream].write(rank === 0 ? `${line}\n` : `[${rank}] ${line}\n`);
}

function show(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${printable(line)}\n`);
}

function seconds(): number {
  return performance.now() / 1000;
}
