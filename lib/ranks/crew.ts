// The workers of one node: started together, ended together, and what they report passed on.
import { commandLine, commandVariable } from "../text/command.js";
import {
  type EndingSignal,
  hangupVariable,
  ignoresHangup,
  isEndingSignal,
  signalStatus,
} from "./signals.js";
import type { Failure, Heartbeat } from "./supervise.js";
import { heartbeatFd, Worker } from "./worker-process.js";

/** What happens in a node. */
export type Report =
  | { type: "beat"; rank: number; beat: Heartbeat }
  | { type: "failure"; failure: Failure }
  /** A signal, to whichever rank, has ended a worker's training. */
  | { type: "interrupted"; signal: EndingSignal }
  | { type: "exit"; rank: number; succeeded: boolean }
  /** A signal came to the node's supervisor. */
  | { type: "signal"; signal: EndingSignal }
  /** All workers of the node have ended, and their output was read. */
  | { type: "ended" };

/** Where a node's workers stand in the world, and where they meet the others. */
export interface CrewPlace {
  /** Rank of the node's first worker. */
  first: number;
  /** Workers of this node. */
  workers: number;
  worldSize: number;
  /** host:port */
  rendezvous: string;
  token: string;
}

/** What to start, and what takes its output. */
export interface CrewOptions {
  command: (rank: number) => string[];
  timeoutSeconds: number;
  env: Record<string, string>;
  onLine: (rank: number, line: string, stream: "stdout" | "stderr") => void;
}

// From SIGTERM to SIGKILL when a run has failed.
export const graceSeconds = 2;

export class Crew {
  /** Resolves when all workers have ended and their output was read. */
  readonly ended: Promise<void>;
  private readonly workers: Worker[] = [];
  /** Statuses and names with which workers may end because of a signal that they were sent. */
  private readonly obedient = new Set<number | NodeJS.Signals | null>();
  private isKilled = false;
  private isStopping = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly options: CrewOptions,
    private readonly place: CrewPlace,
    private readonly report: (report: Report) => void,
  ) {
    for (let local = 0; local < place.workers; local++) this.start(local);
    this.ended = Promise.all(this.workers.map((worker) => worker.ended)).then(() => {
      clearTimeout(this.timer);
      report({ type: "ended" });
    });
  }

  private start(local: number): void {
    const { options, place } = this;
    const { timeoutSeconds } = options;
    const rank = place.first + local;
    const worker = new Worker(rank, options.command(rank), {
      ...process.env,
      ...options.env,
      ONEHOUR_RANK: String(rank),
      ONEHOUR_WORLD_SIZE: String(place.worldSize),
      ONEHOUR_LOCAL_RANK: String(local),
      ONEHOUR_LOCAL_WORLD_SIZE: String(place.workers),
      ONEHOUR_RENDEZVOUS: place.rendezvous,
      ONEHOUR_TOKEN: place.token,
      [commandVariable]: commandLine(),
      [hangupVariable]: ignoresHangup() ? "ignored" : "ends",
      ONEHOUR_TIMEOUT: String(timeoutSeconds),
      ONEHOUR_LAUNCHER: String(process.pid),
      ONEHOUR_HEARTBEAT_FD: String(heartbeatFd),
      ONEHOUR_HEARTBEAT_INTERVAL: String(
        Math.max(1, Math.round(Math.min(250, (timeoutSeconds * 1000) / 10))),
      ),
    });
    this.workers.push(worker);
    worker.onLine = options.onLine;
    worker.onHeartbeat = (beat) => this.report({ type: "beat", rank, beat });
    worker.onFailure = (failure) => this.report({ type: "failure", failure });
    worker.onInterrupted = (signal) => {
      this.expect(signal);
      this.report({ type: "interrupted", signal });
    };
    worker.onExit = () => this.report({ type: "exit", rank, succeeded: worker.succeeded });
    worker.obeyed = (code, signal) =>
      this.isStopping ||
      this.obedient.has(code ?? signal) ||
      (signal === "SIGKILL" && this.isKilled);
  }

  /** Tells rank 0's worker, which may keep a log, what output of this process was lost. */
  tellLoss(text: string): void {
    this.workers[0]?.send({ lost: text });
  }

  /** From here on it is no failure of a worker to end because of this signal. */
  private expect(signal: EndingSignal): void {
    for (const sent of [signal, forwarded(signal)]) this.obedient.add(sent).add(signalStatus(sent));
  }

  /** Passes a signal on to all workers, stopped ones continued so that they see it. */
  signal(signal: EndingSignal | "SIGKILL"): void {
    if (isEndingSignal(signal)) this.expect(signal);
    else this.isKilled = true;
    for (const worker of this.workers) {
      worker.signal(isEndingSignal(signal) ? forwarded(signal) : signal);
      worker.signal("SIGCONT");
    }
  }

  /** Ends all workers of a run that has failed: first with SIGTERM, those that are left with SIGKILL. */
  stop(): void {
    if (this.isStopping) return;
    this.isStopping = true;
    for (const worker of this.workers) {
      worker.signal("SIGTERM");
      worker.signal("SIGCONT");
    }
    this.timer = setTimeout(() => this.kill(), graceSeconds * 1000);
  }

  kill(): void {
    for (const worker of this.workers) worker.signal("SIGKILL");
  }
}

/** The signal that is passed on to workers: SIGUSR1 would open Node's debugger in one that has just begun. */
function forwarded(signal: EndingSignal): EndingSignal {
  return signal.startsWith("SIGUSR") ? "SIGTERM" : signal;
}
