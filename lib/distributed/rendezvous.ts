// Where ranks meet: a small TCP server that gathers values by key, and its clients. Nobody says
// anything else before both sides proved that they know the token.
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { lookup } from "node:dns/promises";
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from "node:net";
import { OnehourError } from "../errors.js";
import { type Frame, FrameReader, sendFrame } from "./frames.js";

const greetingLimit = 1024; // bytes of a frame before a peer is known
const frameLimit = 64 * 1024 * 1024; // bytes of a frame after that
const greetingSeconds = 5; // from a connection to its proof
const retryMilliseconds = 100;

/** A meeting of all ranks of a run. */
export interface Rendezvous {
  readonly rank: number;
  readonly worldSize: number;
  /**
   * All ranks' values in rank order; resolves when every rank has called with this key. A key may
   * be used again afterwards.
   * @throws OnehourError ERR_ONEHOUR_RENDEZVOUS naming the ranks that are missing.
   */
  gather(key: string, value: Uint8Array | string): Promise<Buffer[]>;
  /**
   * Tells every rank, this one too, without waiting for any. All ranks hear it before the end of
   * whatever they gather next with this one.
   */
  announce(key: string, value: string): void;
  /**
   * Hands over what is announced with this key, once each, also what came while nobody listened.
   * Returns a function that ends it. One listener a key at a time.
   */
  listen(key: string, listener: (value: string) => void): () => void;
  /** The address of this machine on the way to the other ranks, as they can reach it. */
  readonly localAddress: string;
  close(): Promise<void>;
}

export interface ServerOptions {
  worldSize: number;
  token: string;
  /** The address to listen on; loopback by default. */
  host?: string;
  /** 0, the default, takes a free one. */
  port?: number;
  /** How long a gathering waits for its last rank; for ever by default. */
  timeoutSeconds?: number;
}

export interface ClientOptions {
  rank: number;
  worldSize: number;
  token: string;
  host: string;
  port: number;
  /** How long to look for the server. */
  timeoutSeconds: number;
}

function proof(token: string, ...parts: readonly (string | number)[]): string {
  return createHmac("sha256", token).update(JSON.stringify(parts)).digest("hex");
}

function matches(given: unknown, expected: string): boolean {
  if (typeof given !== "string" || given.length !== expected.length) return false;
  const left = Buffer.from(given);
  const right = Buffer.from(expected);
  return left.length === right.length && timingSafeEqual(left, right);
}

function failure(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_RENDEZVOUS", message);
}

/** "ranks 1 and 3", "rank 2". */
export function nameRanks(ranks: readonly number[]): string {
  const list =
    ranks.length < 2
      ? ranks.join("")
      : `${ranks.slice(0, -1).join(", ")} and ${ranks[ranks.length - 1]}`;
  return `rank${ranks.length === 1 ? "" : "s"} ${list}`;
}

interface Gathering {
  values: Map<number, string>;
  since: Map<number, number>;
  deadline: NodeJS.Timeout | undefined;
}

/** The server; lives in the launcher, or in rank 0 where another launcher started the ranks. */
export class RendezvousServer {
  readonly port: number;
  /** An address of this machine that another machine reached, once one did. */
  reachedAt: string | undefined;
  private readonly members = new Map<number, Socket>();
  private readonly departed = new Set<number>();
  private readonly strangers = new Set<Socket>();
  private readonly gatherings = new Map<string, Gathering>();

  private constructor(
    private readonly options: ServerOptions,
    private readonly server: ReturnType<typeof createServer>,
  ) {
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (socket) => this.greet(socket));
  }

  /** @throws the system's error when the address or the port is not to be had. */
  static async listen(options: ServerOptions): Promise<RendezvousServer> {
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(options.port ?? 0, options.host ?? "127.0.0.1", resolve);
    });
    server.on("error", () => {}); // A failed accept is the client's trouble; it tries again.
    server.unref();
    return new RendezvousServer(options, server);
  }

  /** The key that a rank waits at and since when (performance.now()). */
  waiting(rank: number): { key: string; since: number } | undefined {
    for (const [key, { since }] of this.gatherings) {
      const start = since.get(rank);
      if (start !== undefined) return { key, since: start };
    }
    return undefined;
  }

  async close(): Promise<void> {
    for (const { deadline } of this.gatherings.values()) clearTimeout(deadline);
    this.gatherings.clear();
    for (const socket of [...this.strangers, ...this.members.values()]) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private greet(socket: Socket): void {
    const { worldSize } = this.options;
    this.strangers.add(socket);
    // Never more unknown connections than ranks: the oldest makes room.
    if (this.strangers.size > worldSize) this.strangers.values().next().value?.destroy();

    const nonce = randomBytes(32).toString("hex");
    const reader = new FrameReader(greetingLimit);
    const timer = setTimeout(() => socket.destroy(), greetingSeconds * 1000).unref();
    let rank: number | undefined;
    socket.unref();
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(timer);
      this.strangers.delete(socket);
      if (rank !== undefined && this.members.get(rank) === socket) this.leave(rank);
    });
    socket.on("data", (bytes) => {
      try {
        for (const frame of reader.push(bytes)) {
          if (socket.destroyed) return;
          if (rank !== undefined) this.receive(rank, socket, frame);
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
    const { worldSize, token } = this.options;
    const { rank, worldSize: theirs, nonce: answer } = frame;
    if (frame.type !== "hello" || typeof rank !== "number" || typeof theirs !== "number")
      return undefined;
    if (typeof answer !== "string" || answer.length !== nonce.length) return undefined;
    if (!matches(frame.proof, proof(token, "client", nonce, answer, rank, theirs)))
      return undefined;
    const refusal =
      !Number.isInteger(rank) || rank < 0 || theirs !== worldSize || rank >= worldSize
        ? `rank ${rank} of ${theirs} came to a meeting of ${worldSize} ranks; start all with the same world size`
        : this.members.has(rank)
          ? `rank ${rank} is here already; give each process a rank of its own`
          : undefined;
    // Who left may come to the next meeting, which begins when everybody has left this one.
    const early = this.departed.has(rank) ? `rank ${rank} left, but other ranks have not yet` : "";
    const type = refusal !== undefined ? "refused" : early === "" ? "welcome" : "later";
    const message = refusal ?? early;
    sendFrame(socket, { type, message, proof: proof(token, "server", answer, nonce, message) });
    this.strangers.delete(socket);
    if (type !== "welcome") return undefined;
    this.members.set(rank, socket);
    const address = plainAddress(socket.localAddress);
    if (!isLoopback(plainAddress(socket.remoteAddress))) this.reachedAt ??= address;
    return rank;
  }

  private receive(rank: number, socket: Socket, frame: Frame): void {
    const { type, key, value } = frame;
    if (typeof key !== "string" || typeof value !== "string") {
      socket.destroy();
      return;
    }
    if (type === "announce") {
      for (const member of this.members.values()) sendFrame(member, { type, key, value });
      return;
    }
    if (type !== "gather") {
      socket.destroy();
      return;
    }
    const gathering = this.gatherings.get(key);
    const refusal =
      this.departed.size > 0
        ? `${nameRanks([...this.departed])} left before "${key}"`
        : gathering?.values.has(rank)
          ? `rank ${rank} is in "${key}" already; await the first call`
          : undefined;
    if (refusal === undefined) this.contribute(rank, key, value, gathering ?? this.begin(key));
    else this.refuse(rank, key, refusal);
  }

  private contribute(rank: number, key: string, value: string, gathering: Gathering): void {
    gathering.values.set(rank, value);
    gathering.since.set(rank, performance.now());
    if (gathering.values.size < this.options.worldSize) return;
    clearTimeout(gathering.deadline);
    this.gatherings.delete(key);
    const values = Array.from({ length: this.options.worldSize }, (_, r) =>
      gathering.values.get(r),
    );
    for (const member of this.members.values())
      sendFrame(member, { type: "gathered", key, values });
  }

  private begin(key: string): Gathering {
    const seconds = this.options.timeoutSeconds;
    const gathering: Gathering = { values: new Map(), since: new Map(), deadline: undefined };
    if (seconds !== undefined && Number.isFinite(seconds)) {
      gathering.deadline = setTimeout(() => {
        const here = [...gathering.values.keys()];
        const missing = Array.from({ length: this.options.worldSize }, (_, r) => r).filter(
          (r) => !gathering.values.has(r),
        );
        this.fail(key, here, `${nameRanks(missing)} did not come to "${key}" within ${seconds} s`);
      }, seconds * 1000);
    }
    this.gatherings.set(key, gathering);
    return gathering;
  }

  private leave(rank: number): void {
    this.members.delete(rank);
    this.departed.add(rank);
    for (const [key, { values }] of [...this.gatherings])
      this.fail(key, [...values.keys()], `rank ${rank} left before "${key}"`);
    if (this.departed.size === this.options.worldSize) this.departed.clear();
  }

  private fail(key: string, ranks: readonly number[], message: string): void {
    clearTimeout(this.gatherings.get(key)?.deadline);
    this.gatherings.delete(key);
    for (const rank of ranks) this.refuse(rank, key, message);
  }

  private refuse(rank: number, key: string, message: string): void {
    const socket = this.members.get(rank);
    if (socket !== undefined) sendFrame(socket, { type: "failed", key, message });
  }
}

interface Pending {
  resolve(values: Buffer[]): void;
  reject(error: Error): void;
}

/** One rank's connection to the server. Keeps the process alive only while it waits. */
class RendezvousClient implements Rendezvous {
  private readonly pending = new Map<string, Pending>();
  private readonly listeners = new Map<string, (value: string) => void>();
  /** Announcements that nobody has listened to yet. */
  private readonly unheard = new Map<string, string[]>();
  private gone: OnehourError | undefined;

  constructor(
    readonly rank: number,
    readonly worldSize: number,
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
    if (type === "gathered" && Array.isArray(values) && values.length === this.worldSize)
      waiting.resolve(values.map((value) => Buffer.from(String(value), "base64")));
    else waiting.reject(failure(`rank ${this.rank}: ${message ?? "malformed answer"}`));
  }

  async gather(key: string, value: Uint8Array | string): Promise<Buffer[]> {
    if (this.gone !== undefined) throw this.gone;
    if (this.pending.has(key))
      throw failure(`rank ${this.rank} is in "${key}" already; await the first call`);
    const bytes = Buffer.from(value);
    if (bytes.length > frameLimit / 2)
      throw failure(
        `"${key}": ${bytes.length} bytes are too much for the rendezvous, the limit is ` +
          `${frameLimit / 2}; use allGather or broadcast for data`,
      );
    return new Promise((resolve, reject) => {
      this.pending.set(key, { resolve, reject });
      this.socket.ref();
      sendFrame(this.socket, { type: "gather", key, value: bytes.toString("base64") });
    });
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
export async function joinRendezvous(options: ClientOptions): Promise<Rendezvous> {
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

function attempt(options: ClientOptions, milliseconds: number): Promise<Rendezvous> {
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
            client = new RendezvousClient(rank, worldSize, socket);
            resolve(client);
          }
        }
      } catch (error) {
        refused(error as Error);
      }
    });
  });
}

/** Listens where rank 0 is said to be; on every address when that name is not this machine's own. */
export async function hostRendezvous(
  options: ServerOptions & { host: string; port: number },
): Promise<RendezvousServer> {
  const { address } = await lookup(options.host);
  try {
    return await RendezvousServer.listen({ ...options, host: address });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EADDRNOTAVAIL") return RendezvousServer.listen({ ...options, host: "::" });
    throw failure(
      `rank 0 cannot listen at ${options.host}:${options.port} (${code ?? error}). Set MASTER_PORT ` +
        "to a free port, the same for all ranks",
    );
  }
}

function plainAddress(address: string | undefined): string {
  return (address ?? "127.0.0.1").replace(/^::ffff:/, "");
}

/** Addresses that only this machine can reach. */
export function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
