// Decides, from what all nodes report, when a run is over and whose fault it is.
import { seconds } from "../system/clock.js";
import { oneLine } from "../text/words.js";
import type { Report } from "./crew.js";
import { nameRanks, namesRank } from "./rendezvous.js";
import { type EndingSignal, signalStatus } from "./signals.js";
import { causeOf, type Failure, type Verdict, Watch } from "./supervise.js";

/** A node of a run, and its part of the world. */
export interface NodePlace {
  /** From 0 on, as the user numbers them. */
  node: number;
  host: string;
  /** Rank of its first worker. */
  first: number;
  workers: number;
}

/** What every node is told to do. */
export type Order =
  /** Pass a signal on to the workers. */
  | { type: "signal"; signal: EndingSignal | "SIGKILL" }
  /** End the workers: the run has failed. */
  | { type: "stop"; outcome: Outcome };

/** How a run ended. */
export interface Outcome {
  /** 0 on success, 1 when a worker failed or hung, 128 and a signal's number after that. */
  status: number;
  /** Of a failed run, one line that names who failed, and of what. */
  cause?: string;
  /** The error's, where it had one. */
  code?: string | undefined;
  /** The cause without who it was, where an error of a worker's program is to blame. */
  error?: string;
  /** Frames of a stack, or the table of a hang, shown before the cause. */
  details: readonly string[];
}

/** The outcome of a run that has failed of `cause`, which needs no details. */
export const failed = (code: string | undefined, cause: string): Outcome => ({
  ...{ status: 1, cause, code, details: [] },
});

// A broken collective is mostly another rank's fault: we wait this long to hear from that one.
const causeSeconds = 1;

interface JudgeOptions {
  timeoutSeconds: number;
  remedy?: string | undefined;
  /** Says where a rank is known to wait. */
  placeOf: (rank: number) => string | undefined;
  order: (order: Order) => void;
}

/** Judges one start of all workers, until all nodes' have ended. */
export class Judge {
  /** Resolves when the workers of all nodes have ended, or are lost. */
  readonly ended: Promise<void>;
  private end: () => void = () => {};
  private readonly watch: Watch;
  private readonly failures: Failure[] = [];
  private readonly succeeded = new Set<number>();
  /** Nodes whose workers have not ended. */
  private readonly running: Set<number>;
  private verdict: Verdict | undefined;
  /** The signal that was passed on, or that ended the workers' training. */
  private interruption: EndingSignal | undefined;
  /** Nodes whose supervisor got a signal. */
  private readonly signalled = new Set<number>();
  private isStopping = false;
  private timer: NodeJS.Timeout | undefined;
  private readonly workers: number;

  constructor(
    private readonly nodes: readonly NodePlace[],
    private readonly options: JudgeOptions,
  ) {
    const { timeoutSeconds, remedy } = options;
    this.workers = nodes.reduce((sum, { workers }) => sum + workers, 0);
    this.watch = new Watch(this.workers, timeoutSeconds, seconds(), remedy, (rank) =>
      this.hostOf(rank),
    );
    this.running = new Set(nodes.map(({ node }) => node));
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  /** Takes what a node reports of its own workers. */
  hear(node: number, report: Report): void {
    const rank = report.type === "failure" ? report.failure.rank : rankOf(report);
    if (rank !== undefined && this.placeOf(rank)?.node !== node) return;
    if (report.type === "beat") this.watch.heartbeat(report.rank, report.beat, seconds());
    if (report.type === "failure") this.fail(report.failure);
    if (report.type === "interrupted") this.interruption ??= report.signal;
    if (report.type === "signal") this.interrupt(node, report.signal);
    if (report.type === "exit") {
      this.watch.finished(report.rank);
      if (report.succeeded) this.succeeded.add(report.rank);
    }
    if (report.type === "ended") this.finish(node);
  }

  /** Takes that a node is gone, and how that was noticed. */
  lose(node: number, how: string): void {
    if (!this.running.has(node)) return; // its work was done
    const { host, first, workers } = this.nodes.find((place) => place.node === node)!;
    const ranks = Array.from({ length: workers }, (_, local) => first + local);
    for (const rank of ranks) this.watch.finished(rank);
    this.fail({
      rank: undefined,
      message: `node ${node} (host ${host}, ${nameRanks(ranks)}) ${how}`,
      code: "ERR_ONEHOUR_NODE_LOST",
      details: [],
      secondary: false,
    });
    this.finish(node);
  }

  /** Looks for a hang; to be called several times a second. */
  check(): void {
    if (this.isStopping) return;
    this.verdict = this.watch.check(seconds(), this.options.placeOf);
    if (this.verdict !== undefined) this.stop();
  }

  private fail(failure: Failure): void {
    // Workers that we end ourselves have not failed.
    if (this.isStopping || this.verdict !== undefined) return;
    if (this.interruption !== undefined && failure.secondary) return;
    this.failures.push(failure);
    if (failure.secondary) this.timer ??= setTimeout(() => this.stop(), causeSeconds * 1000);
    else this.stop();
  }

  /** The second signal to the same node is an impatient user's; an engine sends one to every node. */
  private interrupt(node: number, signal: EndingSignal): void {
    const isImpatient = this.signalled.has(node);
    const isFirst = this.signalled.size === 0;
    this.signalled.add(node);
    this.interruption ??= signal;
    if (isFirst || isImpatient)
      this.options.order({ type: "signal", signal: isImpatient ? "SIGKILL" : signal });
  }

  private stop(): void {
    if (this.isStopping) return;
    this.isStopping = true;
    this.options.order({ type: "stop", outcome: this.outcome() });
  }

  /** Waits for no node any longer. */
  giveUp(): void {
    for (const node of [...this.running]) this.finish(node);
  }

  private finish(node: number): void {
    this.running.delete(node);
    if (this.running.size > 0) return;
    clearTimeout(this.timer);
    this.end();
  }

  /** Whether a signal is to end the run. */
  get isInterrupted(): boolean {
    return this.interruption !== undefined;
  }

  /** How the run ended, or is ending. */
  outcome(): Outcome {
    const cause = causeOf(this.failures);
    if (this.verdict !== undefined) {
      const { table, message } = this.verdict;
      const error = "no progress"; // whoever makes none
      return { status: 1, cause: message, error, details: ["the run hangs:", ...table] };
    }
    if (cause !== undefined) {
      const { details, code } = cause;
      const isOfProgram = cause.rank !== undefined && !cause.secondary && !cause.killed;
      const error = isOfProgram ? { error: cause.message } : {};
      return { status: 1, cause: this.word(cause), code, ...error, details };
    }
    const status = this.interruption === undefined ? 0 : signalStatus(this.interruption);
    return { status, details: [] };
  }

  private word({ rank, message, secondary }: Failure): string {
    const line = oneLine(message);
    if (rank === undefined) return line;
    const host = this.hostOf(rank);
    const who = `rank ${rank}${host === undefined ? "" : ` on ${host}`}`;
    const isNamed = /^rank (\d+)[ :]/.exec(line)?.[1] === `${rank}`;
    const named = namesRank(line)
      ? line
      : isNamed
        ? line.replace(/^rank \d+/, who)
        : `${who}: ${line}`;
    // Peers that left early broke the connection, although they did not fail.
    const left = [...this.succeeded].sort((a, b) => a - b);
    const early = secondary && left.length > 0 && this.failures.length < this.workers;
    return early ? `${named}. Before that ${nameRanks(left)} ended with status 0` : named;
  }

  /** The host of a rank, where there are several. */
  private hostOf(rank: number): string | undefined {
    return this.nodes.length === 1 ? undefined : this.placeOf(rank)?.host;
  }

  private placeOf(rank: number): NodePlace | undefined {
    return this.nodes.find(({ first, workers }) => rank >= first && rank < first + workers);
  }
}

const rankOf = (report: Report) => ("rank" in report ? report.rank : undefined);
