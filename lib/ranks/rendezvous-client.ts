// A rank's side of a rendezvous: finding the server, proving the token, and waiting for the others.
import { randomBytes } from "node:crypto";
import { connect as connectSocket, type Socket } from "node:net";
import { OnehourError } from "../errors.js";
import { plural } from "../text/words.js";
import { type Frame, FrameReader, sendFrame } from "./frames.js";
import {
  collectedBytes,
  failure,
  frameLimit,
  greetingLimit,
  matches,
  plainAddress,
  proof,
  seal,
  unseal,
} from "./rendezvous.js";

const retryMilliseconds = 100;

interface ClientOptions {
  rank: number;
  worldSize: number;
  token: string;
  host: string;
  port: number;
  /** How long to look for the server. */
  timeoutSeconds: number;
}

interface Pending {
  /** Values that are to come. */
  count: number;
  resolve(values: Buffer[]): void;
  reject(error: Error): void;
}

/** One rank's connection to the server. Keeps the process alive only while it waits. */
export class RendezvousClient {
  private readonly pending = new Map<string, Pending>();
  private readonly listeners = new Map<string, (value: string) => void>();
  /** Announcements that nobody has listened to yet. */
  private readonly unheard = new Map<string, string[]>();
  private gone: OnehourError | undefined;

  constructor(
    readonly rank: number,
    readonly worldSize: number,
    private readonly token: string,
    private readonly socket: Socket,
  ) {
    socket.unref();
    socket.on("close", () => {
      this.gone ??= failure(
        `rank ${rank} lost the rendezvous: the process that holds it (the launcher, or rank 0) ended`,
      );
      for (const { reject } of this.pending.values()) reject(this.gone);
      this.pending.clear();
    });
  }

  /** The address of this machine on the way to the other ranks, as they can reach it. */
  get localAddress(): string {
    return plainAddress(this.socket.localAddress);
  }

  receive(frame: Frame): void {
    const { type, key, value, values, message } = frame;
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
    else waiting.reject(failure(`rank ${this.rank}: ${message ?? "malformed answer"}`));
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
      throw failure(`rank ${this.rank} is in "${key}" already; await the first call`);
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
  async collect(key: string, value: Uint8Array): Promise<Uint8Array[]> {
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
    throw failure(`"${key}": what rank ${rank} said was changed on its way to rank ${this.rank}`);
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

  async close(): Promise<void> {
    this.gone ??= failure(`rank ${this.rank} closed its rendezvous`);
    if (this.socket.destroyed) return;
    await new Promise<void>((resolve) => {
      this.socket.once("close", () => resolve());
      this.socket.ref();
      this.socket.end();
      setTimeout(() => this.socket.destroy(), 1000).unref();
    });
  }
}

/**
 * Joins the meeting as one rank; tries again until the server is there.
 * @throws OnehourError ERR_ONEHOUR_RENDEZVOUS when nobody answers in time, the token differs, or the
 * server refuses this rank.
 */
export async function joinRendezvous(options: ClientOptions): Promise<RendezvousClient> {
  const { rank, worldSize, host, port, timeoutSeconds } = options;
  const deadline = performance.now() + timeoutSeconds * 1000;
  let last = "no answer";
  while (performance.now() < deadline) {
    try {
      return await attempt(options, Math.max(100, deadline - performance.now()));
    } catch (error) {
      if (error instanceof OnehourError) throw error;
      last = (error as Error).message;
    }
    await new Promise((resolve) => setTimeout(resolve, retryMilliseconds));
  }
  throw failure(
    `rank ${rank} of ${worldSize} found no rendezvous at ${host}:${port} within ` +
      `${timeoutSeconds} s (${last}). Check that rank 0 runs there, that a firewall lets the port ` +
      "through and that ONEHOUR_TOKEN is the same everywhere",
  );
}

function attempt(options: ClientOptions, milliseconds: number): Promise<RendezvousClient> {
  const { rank, worldSize, token, host, port } = options;
  const nonce = randomBytes(32).toString("hex");
  const reader = new FrameReader(greetingLimit);
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host, port, noDelay: true });
    const timer = setTimeout(() => socket.destroy(new Error("no answer")), milliseconds);
    let client: RendezvousClient | undefined;
    let challenge: string | undefined;
    socket.on("error", reject);
    socket.on("close", () => {
      clearTimeout(timer);
      reject(new Error("the connection was closed before both sides knew each other"));
    });
    const refused = (error: Error) => {
      reject(error);
      socket.destroy();
    };
    socket.on("data", (bytes) => {
      try {
        for (const frame of reader.push(bytes)) {
          if (client !== undefined) client.receive(frame);
          else if (challenge === undefined) {
            if (frame.type !== "challenge" || typeof frame.nonce !== "string")
              return refused(new Error("something else listens there"));
            challenge = frame.nonce;
            sendFrame(socket, {
              type: "hello",
              rank,
              worldSize,
              nonce,
              proof: proof(token, "client", challenge, nonce, rank, worldSize),
            });
          } else {
            const message = String(frame.message);
            if (!matches(frame.proof, proof(token, "server", nonce, challenge, message)))
              return refused(new Error("the server does not know the token"));
            if (frame.type === "later") return refused(new Error(message)); // tried again
            if (frame.type !== "welcome") return refused(failure(message));
            clearTimeout(timer);
            reader.limit = 2 * frameLimit * worldSize;
            client = new RendezvousClient(rank, worldSize, token, socket);
            resolve(client);
          }
        }
      } catch (error) {
        refused(error as Error);
      }
    });
  });
}
