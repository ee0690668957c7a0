// The server of a rendezvous: it admits each rank once, gathers values by key and passes on what is
// announced.
import { randomBytes, randomInt } from "node:crypto";
import type { AddressInfo, Server, Socket } from "node:net";
import { plural } from "../text/words.js";
import { withPort } from "./addresses.js";
import { Arrivals, hostName } from "./arrivals.js";
import { type Frame, FrameReader, sendFrame } from "./frames.js";
import { Gatherings } from "./gatherings.js";
import { everywhere, listenAt } from "./listen.js";
import {
  followPeer,
  frameLimit,
  greetingLimit,
  isLoopback,
  type Loss,
  type MemberKind,
  matches,
  plainAddress,
  proof,
  thisHost,
} from "./rendezvous.js";

const greetingSeconds = 5; // from a connection to its proof
// Unknown connections besides the ranks': a rank gets through a flood of strangers.
const mostStrangers = 128;

const firstRemarkSeconds = 10; // and then twice as long each time

export interface ServerOptions {
  worldSize: number;
  token: string;
  /** The address to listen on; loopback by default. */
  host?: string;
  /** 0, the default, takes a free one. */
  port?: number;
  /** How long all members may take to come, in seconds; for ever by default. */
  startTimeoutSeconds?: number;
  /** How long a gathering waits for its last member once all have come; for ever by default. */
  timeoutSeconds?: number;
  /** How long another machine may not answer before its member counts as lost; 60 by default. */
  quietSeconds?: number;
  /** What meets; ranks by default. */
  kind?: MemberKind;
  /** Takes what a user should read meanwhile: who is awaited. */
  remark?: (text: string) => void;
  /** Takes the loss of a member, after the other members were told. */
  onLoss?: (loss: Loss) => void;
}

/**
 * The server; lives in the launcher, or in rank 0 where another launcher started the ranks. A member that
 * ends without leaving is lost, and so is one whose machine answers nothing for `quietSeconds` (its
 * kernel answers, so a busy or stopped process is no loss); all others are told at once who it was.
 */
export class RendezvousServer {
  readonly port: number;
  /** Where it listens. */
  private readonly address: string;
  /** An address of this machine that another machine reached, once one did. */
  private reachedAt: string | undefined;
  protected readonly members = new Map<number, Socket>();
  private readonly departed = new Set<number>();
  private readonly strangers = new Set<Socket>();
  private readonly gatherings: Gatherings;
  protected readonly arrivals: Arrivals;
  /** Why nobody can meet here any more. */
  private over: string | undefined;
  private timeoutSeconds: number | undefined;
  private startTimer: NodeJS.Timeout | undefined;
  private remarkTimer: NodeJS.Timeout | undefined;

  /** Takes a server that listens. */
  constructor(
    private readonly options: ServerOptions,
    private readonly server: Server,
  ) {
    const { address, port } = server.address() as AddressInfo;
    this.address = address;
    this.port = port;
    this.timeoutSeconds = options.timeoutSeconds;
    this.arrivals = new Arrivals(options.worldSize, options.kind ?? "rank");
    this.gatherings = new Gatherings({
      worldSize: options.worldSize,
      onComplete: (key, values, isForFirst) => this.deliver(key, values, isForFirst),
      onFailure: (key, rank, message) => this.refuse(rank, key, message),
      names: (ranks) => this.arrivals.names(ranks),
    });
    server.on("connection", (socket) => this.greet(socket));
    const { startTimeoutSeconds: seconds } = options;
    if (seconds !== undefined && Number.isFinite(seconds))
      this.startTimer = setTimeout(() => this.giveUp(seconds), seconds * 1000).unref();
    else this.gatherings.expectWithin(this.timeoutSeconds);
    this.remarkAfter(firstRemarkSeconds);
  }

  /** @throws the system's error when it cannot listen at the address and port. */
  static async listen(options: ServerOptions): Promise<RendezvousServer> {
    return new RendezvousServer(options, await listenAt(options));
  }

  /** The key that a rank waits at and since when (performance.now()). */
  waiting(rank: number): { key: string; since: number } | undefined {
    return this.gatherings.waiting(rank);
  }

  async close(): Promise<void> {
    clearTimeout(this.startTimer);
    clearTimeout(this.remarkTimer);
    this.gatherings.clear();
    this.sayClosing();
    for (const socket of [...this.strangers, ...this.members.values()]) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  /** Tells every member, as one that announces does. */
  announce(key: string, value: string): void {
    for (const member of this.members.values()) sendFrame(member, { type: "announce", key, value });
  }

  /** Says that the end of this server is no loss. */
  sayClosing(): void {
    for (const member of this.members.values()) sendFrame(member, { type: "closing" });
  }

  /** The connections of the members that are here. */
  get connections(): ReadonlyMap<number, Socket> {
    return this.members;
  }

  /** From here on a gathering waits for ever: something else notices that a member does not come. */
  waitForEver(): void {
    this.timeoutSeconds = undefined;
    this.gatherings.expectWithin(undefined);
  }

  /** Says who is missing, at growing distances, until all are here. */
  private remarkAfter(seconds: number): void {
    const { remark } = this.options;
    if (remark === undefined) return;
    this.remarkTimer = setTimeout(() => {
      if (!this.arrivals.complete)
        remark(`waiting for ${this.arrivals.missing()} ${this.arrivals.present()}${this.hidden()}`);
      this.remarkAfter(2 * seconds);
    }, seconds * 1000).unref();
  }

  /** An address at which this machine itself reaches it, now that it listens. */
  get ownAddress(): string {
    return everywhere.includes(this.address) ? "127.0.0.1" : this.address;
  }

  /** Where it listens, if no other machine can come there. */
  private hidden(): string {
    return isLoopback(this.address)
      ? `. It listens at ${withPort(this.address, this.port)}, which no other machine reaches`
      : "";
  }

  /** That some have not come in time, and which. */
  late(seconds: number): string {
    return (
      `${this.arrivals.missing()} did not come within ${seconds} s ${this.arrivals.present()}` +
      `${this.hidden()}. See what ` +
      "they printed, and whether they were started at all; if they come later, raise the start timeout " +
      "(--start-timeout, ONEHOUR_START_TIMEOUT)"
    );
  }

  private giveUp(seconds: number): void {
    const message = this.late(seconds);
    this.over = message;
    clearTimeout(this.remarkTimer);
    this.gatherings.fail(() => message);
  }

  private greet(socket: Socket): void {
    const { worldSize } = this.options;
    // Any one makes room: a flood, however fast, then keeps no rank out for long.
    if (this.strangers.size >= mostStrangers + worldSize) {
      const one = [...this.strangers][randomInt(this.strangers.size)]!;
      this.strangers.delete(one);
      one.destroy();
    }
    this.strangers.add(socket);

    const nonce = randomBytes(32).toString("hex");
    const reader = new FrameReader(greetingLimit);
    const timer = setTimeout(() => socket.destroy(), greetingSeconds * 1000).unref();
    let rank: number | undefined;
    let said = false; // goodbye
    socket.unref();
    const isSilent = followPeer(socket, this.options.quietSeconds ?? 60);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(timer);
      this.strangers.delete(socket);
      if (rank === undefined || this.members.get(rank) !== socket) return;
      this.leave(rank, said ? undefined : isSilent() ? "silent" : "ended");
    });
    socket.on("data", (bytes) => {
      try {
        for (const frame of reader.push(bytes)) {
          if (socket.destroyed) return;
          if (rank !== undefined && frame.type === "leave") said = true;
          else if (rank !== undefined) this.receive(rank, socket, frame);
          else {
            rank = this.admit(socket, frame, nonce);
            if (rank === undefined) {
              socket.destroySoon();
              return;
            }
            clearTimeout(timer);
            reader.limit = frameLimit;
          }
        }
      } catch {
        socket.destroy(); // Malformed or too long.
      }
    });
    sendFrame(socket, { type: "challenge", nonce });
  }

  /** The rank of a peer whose proof is right, undefined for anybody else. */
  private admit(socket: Socket, frame: Frame, nonce: string): number | undefined {
    const { worldSize, token, kind = "rank" } = this.options;
    const { rank, worldSize: theirs, nonce: answer, host } = frame;
    if (frame.type !== "hello" || typeof rank !== "number" || typeof theirs !== "number")
      return undefined;
    if (typeof answer !== "string" || answer.length !== nonce.length) return undefined;
    if (typeof host !== "string") return undefined;
    const address = plainAddress(socket.remoteAddress);
    if (!matches(frame.proof, proof(token, "client", nonce, answer, rank, theirs, host))) {
      this.arrivals.refuse(`one from ${address} came with another token`);
      return undefined;
    }
    const name = hostName(host);
    const isHere = this.isHere(rank);
    const here =
      `${kind} ${rank} is here already, from host ${this.arrivals.hostOf(rank)}; this one is on ` +
      `host ${name}. Give each process a ${kind === "rank" ? "rank" : "node rank"} of its own`;
    const refusal =
      !Number.isInteger(rank) || rank < 0 || theirs !== worldSize || rank >= worldSize
        ? `${kind} ${rank} of ${theirs}, on host ${name}, came to a meeting of ` +
          `${plural(worldSize, kind)} on host ${thisHost()}; start all with the same ` +
          (kind === "rank" ? "world size" : "number of nodes")
        : isHere && !this.mayReturn
          ? here
          : this.over;
    const [type, message] =
      refusal !== undefined
        ? ["refused", refusal]
        : isHere
          ? ["taken", here]
          : this.departed.has(rank)
            ? ["later", `${kind} ${rank} left, but others have not yet`] // it may come to the next meeting
            : ["welcome", ""];
    const own = thisHost();
    sendFrame(socket, {
      type,
      message,
      host: own,
      proof: proof(token, "server", answer, nonce, message, own),
    });
    this.strangers.delete(socket);
    if (refusal !== undefined && refusal !== this.over) this.arrivals.refuse(refusal);
    if (type !== "welcome") return undefined;
    this.members.set(rank, socket);
    if (!isLoopback(address)) this.reachedAt ??= plainAddress(socket.localAddress);
    this.arrive(rank, name);
    return rank;
  }

  /** Counts a member as here. */
  protected arrive(rank: number, host: string): void {
    this.arrivals.come(rank, host);
    if (this.arrivals.complete) this.begun();
  }

  protected isHere(rank: number): boolean {
    return this.members.has(rank);
  }

  /** Whether a member may have been started anew while its former connection still seems to be there. */
  protected get mayReturn(): boolean {
    return false;
  }

  /** All are here: from now on gatherings have their own deadlines. */
  private begun(): void {
    clearTimeout(this.startTimer);
    clearTimeout(this.remarkTimer);
    this.gatherings.expectWithin(this.timeoutSeconds);
  }

  protected receive(rank: number, socket: Socket, frame: Frame): void {
    const { type, key, value } = frame;
    if (typeof key !== "string" || typeof value !== "string") {
      socket.destroy();
      return;
    }
    if (type === "announce") {
      this.announce(key, value);
      return;
    }
    if (type !== "gather" && type !== "collect") {
      socket.destroy();
      return;
    }
    const refusal =
      this.over ??
      (this.departed.size > 0
        ? `${this.arrivals.names([...this.departed])} left before "${key}"`
        : this.gatherings.has(key, rank)
          ? `${this.arrivals.name(rank)} is in "${key}" already; await the first call`
          : undefined);
    if (refusal === undefined) this.gatherings.add(key, rank, value, type === "collect");
    else this.refuse(rank, key, refusal);
  }

  private deliver(key: string, values: string[], isForFirst: boolean): void {
    const { reachedAt } = this;
    for (const [to, member] of this.members) {
      const own = isForFirst && to !== 0 ? [] : values;
      sendFrame(member, { type: "gathered", key, values: own, reachedAt });
    }
  }

  protected leave(rank: number, lost?: "silent" | "ended"): void {
    this.members.delete(rank);
    this.departed.add(rank);
    this.arrivals.leave(rank);
    const name = this.arrivals.name(rank);
    const quiet = this.options.quietSeconds ?? 60;
    const what =
      lost === "silent"
        ? `is unreachable: its machine has not answered for ${quiet} s`
        : lost === "ended"
          ? "ended"
          : "left";
    const message = `${name} ${what}`;
    this.gatherings.fail((key) => (lost === "silent" ? message : `${message} before "${key}"`));
    if (lost !== undefined) {
      const loss = { rank, message, unreachable: lost === "silent" };
      for (const member of this.members.values()) sendFrame(member, { type: "lost", ...loss });
      this.options.onLoss?.(loss);
    }
    if (this.departed.size === this.options.worldSize) this.departed.clear();
  }

  private refuse(rank: number, key: string, message: string): void {
    const socket = this.members.get(rank);
    if (socket !== undefined) sendFrame(socket, { type: "failed", key, message });
  }
}
