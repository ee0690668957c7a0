// A rank's connection to a rendezvous, once the server has admitted it.
import type { Socket } from "node:net";
import type { OnehourError } from "../errors.js";
import { plural } from "../text/words.js";
import { type Frame, sendFrame } from "./frames.js";
import {
  collectedBytes,
  failure,
  followPeer,
  frameLimit,
  isLoopback,
  type Loss,
  type MemberKind,
  plainAddress,
  seal,
  unseal,
} from "./rendezvous.js";

/** What a client knows of its meeting when it is admitted. */
export interface Admission {
  rank: number;
  worldSize: number;
  token: string;
  socket: Socket;
  /** The name of the machine that holds the meeting. */
  holder: string;
  /** How long that machine may not answer before it counts as lost. */
  quietSeconds: number;
  kind: MemberKind;
}

interface Pending {
  /** Values that are to come. */
  count: number;
  resolve(values: Buffer[]): void;
  reject(error: Error): void;
}

/**
 * One rank's connection to the server. Keeps the process alive only while it waits. It fails when the
 * server ends, and when the server's machine does not answer for `quietSeconds` (its kernel does, so a
 * busy or stopped process is no loss); what the server says of lost members comes to `onLoss`.
 */
export class RendezvousClient {
  private readonly pending = new Map<string, Pending>();
  private readonly listeners = new Map<string, (value: string) => void>();
  /** Announcements that nobody has listened to yet. */
  private readonly unheard = new Map<string, string[]>();
  private gone: OnehourError | undefined;
  /** Resolves when the connection is no more. */
  readonly closed: Promise<void>;
  private readonly losses: Loss[] = [];
  private lossListener: ((loss: Loss) => void) | undefined;
  /** An address of the holder's machine that other machines reach. */
  private reachedAt: string | undefined;
  /** The server has ended the meeting, or this client left it. */
  private closing = false;
  readonly rank: number;
  readonly worldSize: number;
  private readonly name: string;
  private readonly token: string;
  private readonly socket: Socket;

  constructor({ rank, worldSize, token, socket, holder, quietSeconds, kind }: Admission) {
    this.rank = rank;
    this.worldSize = worldSize;
    this.name = `${kind} ${rank}`;
    this.token = token;
    this.socket = socket;
    const isSilent = followPeer(socket, quietSeconds);
    socket.unref();
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
    socket.on("close", () => {
      const unreachable = isSilent();
      const what = unreachable
        ? `host ${holder}, which holds it, is unreachable: it has not answered for ${quietSeconds} s`
        : this.closing
          ? "it is closed"
          : `the process that holds it (the launcher, or ${kind} 0) on host ${holder} ended`;
      const message = `${this.name} lost the rendezvous: ${what}`;
      this.fail(failure(message));
      if (!this.closing) this.lose({ rank: undefined, message, unreachable });
    });
  }

  /** Ends what waits here, and refuses what comes, with this error; the first one counts. */
  fail(error: OnehourError): void {
    this.gone ??= error;
    for (const { reject } of this.pending.values()) reject(this.gone);
    this.pending.clear();
    this.socket.unref();
  }

  /** Whether the connection is of no use any more: lost, failed or closed. */
  get isOver(): boolean {
    return this.gone !== undefined || this.closing;
  }

  /** For who waits until the server has ended. */
  get connection(): Socket {
    return this.socket;
  }

  /** Calls `listener` with every loss, also with those before. */
  onLoss(listener: (loss: Loss) => void): void {
    this.lossListener = listener;
    for (const loss of this.losses.splice(0)) listener(loss);
  }

  private lose(loss: Loss): void {
    if (this.lossListener === undefined) this.losses.push(loss);
    else this.lossListener(loss);
  }

  /**
   * The address of this machine on the way to the other ranks, as they can reach it; loopback only as
   * long as nobody came from another machine.
   */
  get localAddress(): string {
    const address = plainAddress(this.socket.localAddress);
    return isLoopback(address) ? (this.reachedAt ?? address) : address;
  }

  /** The address at which the server was reached. */
  get serverAddress(): string {
    return plainAddress(this.socket.remoteAddress);
  }

  receive(frame: Frame): void {
    const { type, key, value, values, message } = frame;
    if (type === "closing") {
      this.closing = true;
      return;
    }
    if (type === "lost") {
      const rank = typeof frame.rank === "number" ? frame.rank : undefined;
      this.lose({ rank, message: String(message), unreachable: frame.unreachable === true });
      return;
    }
    if (typeof frame.reachedAt === "string") this.reachedAt = frame.reachedAt;
    if (type === "announce") {
      this.hear(String(key), String(value));
      return;
    }
    const waiting = typeof key === "string" ? this.pending.get(key) : undefined;
    if (waiting === undefined) return;
    this.pending.delete(key as string);
    if (this.pending.size === 0) this.socket.unref();
    if (type === "gathered" && Array.isArray(values) && values.length === waiting.count)
      waiting.resolve(values.map((value) => Buffer.from(String(value), "base64")));
    else waiting.reject(failure(`${this.name}: ${message ?? "malformed answer"}`));
  }

  /** All ranks' values in rank order; see `World.gather`. */
  async gather(key: string, value: Uint8Array | string): Promise<Buffer[]> {
    return await this.contribute("gather", key, value);
  }

  private async contribute(
    type: "gather" | "collect",
    key: string,
    value: Uint8Array | string,
  ): Promise<Buffer[]> {
    if (this.gone !== undefined) throw this.gone;
    if (this.pending.has(key))
      throw failure(`${this.name} is in "${key}" already; await the first call`);
    const bytes = Buffer.from(value);
    if (bytes.length > frameLimit / 2)
      throw failure(
        `"${key}": ${plural(bytes.length, "byte")} are too much for the rendezvous, the limit is ` +
          `${frameLimit / 2}; use allGather or broadcast for data`,
      );
    return new Promise((resolve, reject) => {
      const count = type === "gather" || this.rank === 0 ? this.worldSize : 0;
      this.pending.set(key, { count, resolve, reject });
      this.socket.ref();
      sendFrame(this.socket, { type, key, value: bytes.toString("base64") });
    });
  }

  /** All ranks' values, sealed on their way; see `World.exchange`. */
  async exchange(key: string, value: Uint8Array): Promise<Uint8Array[]> {
    const sealed = await this.gather(key, seal(this.token, this.context(key, this.rank), value));
    return sealed.map((bytes, rank) => this.opened(key, rank, bytes));
  }

  /** All ranks' values on rank 0, sealed on their way, in rounds of what a frame can hold; see `Meeting.collect`. */
  async collect(
    key: string,
    value: Uint8Array,
    onSent: (bytes: number) => void = () => {},
  ): Promise<Uint8Array[]> {
    const lengths = (await this.gather(key, String(value.length))).map(Number);
    const senders = lengths.filter((length) => length > 0).length;
    const size = Math.floor(collectedBytes / Math.max(1, senders));
    const parts = lengths.map((): Uint8Array[] => []);
    for (let start = 0; start < Math.max(...lengths); start += size) {
      const own = this.context(key, this.rank, start, value.length);
      const part = seal(this.token, own, value.subarray(start, start + size));
      const sealed = await this.contribute("collect", key, part);
      for (const [rank, bytes] of sealed.entries())
        parts[rank]!.push(this.opened(key, rank, bytes, start, lengths[rank]!));
      onSent(lengths.reduce((sum, length) => sum + Math.min(length, start + size), 0));
    }
    return this.rank === 0 ? parts.map((all) => Buffer.concat(all)) : [];
  }

  /** What a sealed value is for: it is of no use elsewhere. */
  private context(key: string, rank: number, ...place: number[]): string {
    return JSON.stringify([key, rank, this.worldSize, ...place]);
  }

  private opened(key: string, rank: number, sealed: Buffer, ...place: number[]): Buffer {
    const opened = unseal(this.token, this.context(key, rank, ...place), sealed);
    if (opened !== undefined) return opened;
    throw failure(`"${key}": what rank ${rank} said was changed on its way to ${this.name}`);
  }

  announce(key: string, value: string): void {
    if (this.gone === undefined) sendFrame(this.socket, { type: "announce", key, value });
  }

  listen(key: string, listener: (value: string) => void): () => void {
    this.listeners.set(key, listener);
    for (const value of this.unheard.get(key) ?? []) listener(value);
    this.unheard.delete(key);
    return () => this.listeners.delete(key);
  }

  private hear(key: string, value: string): void {
    const listener = this.listeners.get(key);
    if (listener !== undefined) listener(value);
    else this.unheard.set(key, [...(this.unheard.get(key) ?? []), value]);
  }

  /** Says that the end of this connection is no loss. */
  leave(): void {
    this.closing = true;
    sendFrame(this.socket, { type: "leave" });
  }

  async close(): Promise<void> {
    this.gone ??= failure(`${this.name} closed its rendezvous`);
    if (this.socket.destroyed) return;
    await new Promise<void>((resolve) => {
      this.socket.once("close", () => resolve());
      this.socket.ref();
      this.leave();
      this.socket.end();
      setTimeout(() => this.socket.destroy(), 1000).unref();
    });
  }
}
