// Finds the rank that holds up the others, from who makes progress and who waits, and the failure that
// caused the others.
import { nameRanks } from "./rendezvous.js";

/** What a worker's native thread reports. */
export interface Heartbeat {
  /** Work done so far. */
  progress: number;
  /** Waits for peers in progress. */
  waiting: number;
  /** Kernels in progress that do not wait for peers. */
  running: number;
  /** Batches being read from the data set. */
  reading: number;
}

/** The reason to end a run that hangs. */
export interface Verdict {
  /** The ranks that hold up the others; empty when all wait for each other. */
  culprits: readonly number[];
  /** One line that names them. */
  message: string;
  /** What each rank waits for, a line a rank. */
  table: readonly string[];
}

interface RankState {
  progress: number;
  waiting: boolean;
  computing: boolean;
  reading: boolean;
  /** When the progress last changed. */
  movedAt: number;
  /** When the last heartbeat came; undefined before the first. */
  beatAt: number | undefined;
  finished: boolean;
}

// A process may take this long to its first heartbeat, whatever the timeout.
const startSeconds = 60;
// Between two checks that come on time there is less.
const gapSeconds = 0.75;

/**
 * Watches the heartbeats of k workers. Times are seconds of a monotonic clock.
 *
 * A rank holds up the others when it has made no progress for `timeoutSeconds` and does not only
 * wait itself, while every other rank that still runs has made none either, and at least one waits
 * or reads its data set: a read that never ends is a hang even where no rank waits.
 * A rank one of whose streams waits while a kernel runs on another does not only wait: the peers of
 * that wait may be waiting for the kernel. A rank without heartbeats (stopped, for instance) does not
 * count as waiting. So a long step is not a hang as long as its kernels finish one after another, or
 * nobody waits for it.
 */
export class Watch {
  private readonly ranks: RankState[];
  private readonly staleSeconds: number;
  private lastCheck: number;

  constructor(
    workers: number,
    private readonly timeoutSeconds: number,
    now: number,
    /** What a user does whose steps take longer. */
    private readonly remedy = "raise timeoutSeconds",
    /** The host of a rank, where there are several. */
    private readonly hostOf: (rank: number) => string | undefined = () => undefined,
  ) {
    this.staleSeconds = Math.min(2, timeoutSeconds / 2);
    this.lastCheck = now;
    this.ranks = Array.from({ length: workers }, () => ({
      progress: -1,
      waiting: false,
      computing: false,
      reading: false,
      movedAt: now,
      beatAt: undefined,
      finished: false,
    }));
  }

  heartbeat(rank: number, beat: Heartbeat, now: number): void {
    const state = this.ranks[rank]!;
    if (beat.progress !== state.progress) state.movedAt = now;
    state.progress = beat.progress;
    state.waiting = beat.waiting > 0;
    state.computing = beat.running > 0;
    state.reading = beat.reading > 0;
    state.beatAt = now;
  }

  finished(rank: number): void {
    this.ranks[rank]!.finished = true;
  }

  /** The verdict on a hang, if this is one. `place` says where a rank is known to wait. */
  check(now: number, place: (rank: number) => string | undefined): Verdict | undefined {
    this.forgive(now);
    const running = this.ranks.flatMap((state, rank) => (state.finished ? [] : [rank]));
    if (running.length === 0 || !running.every((rank) => this.isStuck(rank, now))) return undefined;
    const waiting = running.filter((rank) => this.onlyWaits(rank, now));
    const culprits = running.filter((rank) => !waiting.includes(rank));
    const silent = culprits.filter((rank) => this.isSilent(rank, now));
    const readers = culprits.filter((rank) => this.reads(rank, now));
    // No rank waits, and all work on something long: fine, unless none sends heartbeats.
    const someWait = running.some((rank) => this.waits(rank, now));
    if (!someWait && readers.length === 0 && silent.length < running.length) return undefined;

    const table = running.map((rank) => this.describe(rank, now, place(rank)));
    const seconds = `${Math.max(...running.map((rank) => this.patience(rank)))} s`;
    if (culprits.length === 0)
      return {
        culprits,
        table,
        message:
          `no rank made progress for ${seconds}: all wait for each other (see the table). ` +
          "All ranks must make the same calls in the same order",
      };
    const who = `${nameRanks(culprits)}${this.placeOf(culprits)}`;
    const meanwhile = waiting.length > 0 ? ` while ${nameRanks(waiting)} waited` : "";
    const hint =
      silent.length === culprits.length
        ? "It sends no heartbeats: was it stopped, or is its machine out of memory or gone?"
        : readers.length === culprits.length
          ? "The data set has not returned the images of a batch, or code of a module runs without an " +
            `end. If it takes so long, ${this.remedy}`
          : `If its steps take that long, ${this.remedy}`;
    return {
      culprits,
      table,
      message: `${who} made no progress for ${seconds}${meanwhile}. ${hint}`,
    };
  }

  /** " on n2", of ranks of several hosts all of these. */
  private placeOf(ranks: readonly number[]): string {
    const hosts = new Set(ranks.flatMap((rank) => this.hostOf(rank) ?? []));
    return hosts.size === 0 ? "" : ` on ${[...hosts].join(", ")}`;
  }

  /** The verdict on ranks that have sent no heartbeat for `limit` seconds while a signal is to end the run. */
  checkEnding(now: number, limit: number): Verdict | undefined {
    const culprits = this.ranks.flatMap(({ finished, beatAt = now }, rank) =>
      !finished && now - beatAt > limit ? [rank] : [],
    );
    if (culprits.length === 0) return undefined;
    const who = `${nameRanks(culprits)}${this.placeOf(culprits)}`;
    return {
      culprits,
      table: culprits.map((rank) => this.describe(rank, now, undefined)),
      message:
        `${who} sent no heartbeat for ${limit} s after a signal, so that the run could not be saved once more. ` +
        "Was it stopped, or is its machine out of memory or gone?",
    };
  }

  /** Time in which this process itself did not run (stopped, or no core for it) counts for nobody. */
  private forgive(now: number): void {
    const gap = now - this.lastCheck;
    this.lastCheck = now;
    if (gap < gapSeconds) return;
    for (const state of this.ranks) {
      state.movedAt += gap;
      if (state.beatAt !== undefined) state.beatAt += gap;
    }
  }

  private isSilent(rank: number, now: number): boolean {
    const { beatAt } = this.ranks[rank]!;
    return beatAt === undefined || now - beatAt > this.staleSeconds;
  }

  private waits(rank: number, now: number): boolean {
    return this.ranks[rank]!.waiting && !this.isSilent(rank, now);
  }

  private reads(rank: number, now: number): boolean {
    return this.ranks[rank]!.reading && !this.isSilent(rank, now);
  }

  private onlyWaits(rank: number, now: number): boolean {
    return this.waits(rank, now) && !this.ranks[rank]!.computing;
  }

  private isStuck(rank: number, now: number): boolean {
    return now - this.ranks[rank]!.movedAt >= this.patience(rank);
  }

  /** Seconds without progress that are a rank's to take. */
  private patience(rank: number): number {
    const started = this.ranks[rank]!.beatAt !== undefined;
    return started ? this.timeoutSeconds : Math.max(this.timeoutSeconds, startSeconds);
  }

  private describe(rank: number, now: number, place: string | undefined): string {
    const { progress, movedAt, beatAt, computing } = this.ranks[rank]!;
    const what = this.onlyWaits(rank, now)
      ? `waits ${place ?? "in a collective"}`
      : beatAt === undefined
        ? "has not started"
        : this.isSilent(rank, now)
          ? `has sent no heartbeat for ${(now - beatAt).toFixed(1)} s`
          : computing
            ? "runs a kernel that does not end"
            : this.reads(rank, now)
              ? "waits for images of the data set"
              : "waits for nobody";
    return (
      `  rank ${rank}${this.placeOf([rank])}: ${what}; ${Math.max(0, progress)} pieces of work done, ` +
      `the last ${(now - movedAt).toFixed(1)} s ago`
    );
  }
}

/** How a worker failed. */
export interface Failure {
  /** Undefined where a whole node failed. */
  rank: number | undefined;
  /** One line. */
  message: string;
  /** The error's, where it had one. */
  code: string | undefined;
  /** Frames of the stack or other lines that help, shown before the message. */
  details: readonly string[];
  /** True for what follows from another rank's failure: a broken collective or rendezvous. */
  secondary: boolean;
  /** Killed by SIGKILL: by the system, for want of memory, or by somebody. */
  killed?: boolean;
}

/** The failure that caused the others: the first that is not a consequence, else the first of all. */
export function causeOf(failures: readonly Failure[]): Failure | undefined {
  return failures.find(({ secondary }) => !secondary) ?? failures[0];
}
