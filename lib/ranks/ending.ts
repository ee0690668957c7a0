// How a rank ends that an engine started (torchrun, srun, mpirun) and no launcher of ours watches: one that fails
// tells the others, which end and say whom they waited for; it waits until they have, and says last what happened.
import { writeSync } from "node:fs";
import { OnehourError } from "../errors.js";
import { oneLine, printable } from "../text/words.js";
import { awaitClosed, take } from "./blocking.js";
import { isSecondary, reportOf } from "./error-report.js";
import type { RankServer } from "./rank-server.js";
import { endKey, type Loss, namesRank } from "./rendezvous.js";
import type { RendezvousClient } from "./rendezvous-client.js";
import { listenForEnd, signalOf } from "./signals.js";
import type { Verdict } from "./supervise.js";
import { Vigil } from "./vigil.js";

/** The end of some rank, as all are told. */
interface End {
  ranks: readonly number[];
  /** The error that ended it. */
  failed?: string;
  /** Why the run counts as hung. */
  hung?: string;
  /** Nothing answers on its machine. */
  unreachable?: boolean;
}

// A broken collective is mostly another rank's fault: we wait this long to hear from that one.
const causeSeconds = 5;
// A rank that has heard of another's end ends within this time, whatever it does.
const graceSeconds = 3;
const scriptSignals = ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"] as const;
// Node's status where a module awaits a promise that nothing will settle.
const neverSettled = 13;
/** How long the last rank waits for the others. mpirun kills a second after the first has ended. */
const patienceSeconds = (source: string) =>
  ["openmpi", "hydra", "pmi"].includes(source) ? 0.8 : 5;

/** Errors that say whom a rank waited for. */
const explained = new WeakSet<Error>();

export interface EndingOptions {
  rank: number;
  /** Names of the ranks' machines. */
  hosts: readonly string[];
  /** Which engine started the ranks. */
  source: string;
  client: RendezvousClient;
  /** On rank 0. */
  server: RankServer | undefined;
  /** Seconds without progress after which a rank that others wait for counts as hung. */
  timeoutSeconds: number;
}

export class Ending {
  /** Ends this rank's collectives. */
  onEnd: () => void = () => {};
  /** The process is for this run alone, and not a script's. */
  isOurs = false;
  private readonly vigil: Vigil;
  /** The first end of a rank that was none of a run that is done: the cause of all others. */
  private cause: End | undefined;
  private readonly heard: Promise<void>;
  private resolveHeard = () => {};
  private isClosed = false;
  /** A wait of this rank has broken: its end is no cause. */
  private isBroken = false;
  private hasSpoken = false;
  private timer: NodeJS.Timeout | undefined;
  private heedSignals = () => {};
  private readonly monitor = (error: unknown) => this.beforeCrash(error);
  private readonly exit = (status: number) => this.beforeExit(status);

  constructor(private readonly options: EndingOptions) {
    this.heard = new Promise((resolve) => {
      this.resolveHeard = resolve;
    });
    const hear = (text: string) => this.hear(JSON.parse(text) as End);
    options.client.listen(endKey, hear);
    options.client.onLoss((loss) => this.lose(loss));
    if (options.server)
      options.server.onEnd = (text) => {
        // What the ranks agreed on before the end may still be on its way from this process to itself.
        take(options.client.connection);
        hear(text);
      };
    this.vigil = new Vigil({
      ...options,
      worldSize: options.hosts.length,
      onVerdict: (verdict) => this.condemn(verdict),
    });
    process.on("uncaughtExceptionMonitor", this.monitor);
    process.on("exit", this.exit);
  }

  /** Whether some rank has failed: then the connections last as long as the processes, for who ends last waits on them. */
  get isFailure(): boolean {
    return this.cause !== undefined;
  }

  /** "rank 3 on n2" */
  private name(rank: number): string {
    return `rank ${rank} on ${printable(this.options.hosts[rank] ?? "?")}`;
  }

  private get self(): string {
    return this.name(this.options.rank);
  }

  private get isOwn(): boolean {
    return this.cause?.ranks.includes(this.options.rank) === true;
  }

  /** Has a rank named soon that cannot take part in the end which a signal asks for. */
  expectEnd(): void {
    this.vigil.isEnding = true;
  }

  /** Takes the vigil's verdict on a run that hangs. */
  private condemn({ culprits, message, table }: Verdict): void {
    if (this.cause) return;
    for (const line of ["the run hangs:", ...table]) writeLine(line);
    this.say({ ranks: culprits, hung: message });
  }

  /** Tells all ranks, this one too. */
  private say(end: End): void {
    const { client, server } = this.options;
    const text = JSON.stringify(end);
    if (server) server.announce(endKey, text);
    else client.announce(endKey, text);
    // Rank 0 would tell this one too, but it may be what the end is about.
    if (client.isOver || end.ranks.includes(0)) this.hear(end);
  }

  /** Takes that a rank is gone which has not said why. */
  lose({ rank = 0, unreachable }: Loss): void {
    this.hear({ ranks: [rank], unreachable });
  }

  private hear(end: End): void {
    if (this.cause || this.isClosed) return;
    this.cause = end;
    this.resolveHeard();
    const isLeft = this.isOurs || scriptSignals.every((name) => process.listenerCount(name) === 0);
    // The engine may signal those that are left, which have still to say whom they waited for.
    if (isLeft) this.heedSignals = listenForEnd(() => {});
    if (this.isOwn && end.failed !== undefined) return;
    // A script that listens to signals may have to save what it has, and takes its time.
    if (isLeft) this.timer = setTimeout(() => this.leave(), 1000 * graceSeconds).unref();
    const error = new OnehourError("ERR_ONEHOUR_RENDEZVOUS", this.explanation());
    explained.add(error);
    this.options.client.fail(error);
    this.onEnd();
  }

  private leave(): void {
    writeLine(`onehour: ${this.explanation()}`);
    process.exit(1);
  }

  /** Why this rank ends, in one line; `broken` is what its own wait ended with. */
  private explanation(broken = ""): string {
    const { ranks, failed, hung, unreachable } = this.cause!;
    const self = this.self;
    if (hung !== undefined) return this.isOwn ? hung : `${self}: ended because ${hung}`;
    const who = ranks.map((rank) => this.name(rank)).join(" and ");
    if (failed !== undefined) return `${self}: ended because ${who} failed: ${failed}`;
    const where = /^.+? failed: .+?(?=\. |$)/.exec(broken)?.[0];
    const wait = where === undefined ? "" : ` (${where})`;
    if (unreachable)
      return `${self}: waited for ${who}, whose machine does not answer${wait}: it is down, or the way to it is`;
    return (
      `${self}: waited for ${who}, which ended without a word${wait}: it was killed, memory ran out, or its ` +
      "machine is gone. See its own output and dmesg there"
    );
  }

  /** An error as its rank is to show it: that of a broken wait names the rank that broke it, once it is known. */
  async explain(error: unknown): Promise<unknown> {
    if (!(error instanceof Error && isSecondary(error)) || explained.has(error)) return error;
    await this.hearsOf(causeSeconds);
    this.isBroken = true;
    const broken = error.message.replace(/^rank \d+ of \d+: /, "");
    reword(error, this.cause ? this.explanation(broken) : `${this.self}: ${broken}`);
    explained.add(error);
    return error;
  }

  /** Resolves when this rank hears of another's end, or after so many seconds. */
  private hearsOf(seconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000 * seconds);
      void this.heard.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /**
   * Tells the others of an error that ends this rank, and blocks until they have ended, if it is the first such.
   * Returns the error with this rank's name.
   */
  fail(error: unknown): unknown {
    if (isSecondary(error)) return error;
    this.lastWords(reportOf(error).error.message);
    if (error instanceof Error && !namesRank(error.message))
      reword(error, `${this.self}: ${error.message}`);
    return error;
  }

  private lastWords(failed: string): void {
    this.hasSpoken = true;
    if (!this.cause) this.say({ ranks: [this.options.rank], failed: oneLine(failed) });
    const { client, server } = this.options;
    // What comes first to rank 0 counts: it may be another's failure.
    if (!server) awaitClosed([client.connection], this.patience, () => this.isFailure);
    if (this.isOwn) this.awaitOthers();
  }

  private get patience(): number {
    return patienceSeconds(this.options.source);
  }

  /** Blocks until the others have ended; rank 0's connection lasts until all but the culprit have. */
  private awaitOthers(): void {
    const { client, server, rank } = this.options;
    const sockets = new Map(server?.connections ?? [[0, client.connection]]);
    for (const other of [rank, ...(this.isOwn ? [] : this.cause!.ranks)])
      if (server) sockets.delete(other);
    awaitClosed(sockets.values(), this.patience, () => false);
  }

  /** Node is about to print an error that nothing has caught, and to end this process. */
  private beforeCrash(error: unknown): void {
    if (process.listenerCount("uncaughtException") > 0) return; // the script decides
    if (!isSecondary(error)) this.lastWords(reportOf(error).error.message);
    else if (error instanceof Error && !explained.has(error)) this.beforeBrokenEnd(error);
  }

  /** Says whom a wait of the script's own was for, before Node shows how it broke. */
  private beforeBrokenEnd({ message }: Error): void {
    const { client, server } = this.options;
    this.isBroken = true;
    const sockets = [client.connection, ...(server?.connections.values() ?? [])];
    awaitClosed(sockets, this.patience, () => this.isFailure);
    if (this.cause) writeLine(`onehour: ${this.explanation(message)}`);
  }

  private beforeExit(given: number): void {
    const { client, server, rank } = this.options;
    const status = Number(process.exitCode ?? given); // Node itself sets it as late as this
    if (this.cause) {
      if (status === neverSettled) writeLine(`onehour: ${this.explanation()}`);
      if (rank === 0 && !this.isOwn) this.awaitOthers();
    } else if (status === 0 || this.isBroken || (!this.isOurs && signalOf(status) !== undefined)) {
      client.leave();
      server?.sayClosing();
    } else if (!this.hasSpoken) {
      const meaning = status === neverSettled ? ": a top-level await never ended" : "";
      this.lastWords(`exited with status ${status}${meaning}`);
    }
  }

  /** The world is closed: after a failure the process is about to end, unless a script goes on. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.vigil.close();
    process.off("uncaughtExceptionMonitor", this.monitor);
    if (!this.cause) process.off("exit", this.exit);
    else setTimeout(() => this.heedSignals(), 1000 * graceSeconds).unref();
  }
}

function writeLine(text: string): void {
  try {
    writeSync(2, `${printable(text)}\n`);
  } catch {
    // Nobody reads it.
  }
}

/** Gives an error another message, in its stack too. */
function reword(error: Error, message: string): void {
  error.stack = error.stack?.replace(error.message, () => message) ?? message;
  error.message = message;
}
