// The server of a rendezvous: it admits each rank once, gathers values by key and passes on what is
// announced.
import { randomBytes, randomInt } from "node:crypto";
import { lookup } from "node:dns/promises";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { plural, shown } from "../text/words.js";
import { type Frame, FrameReader, sendFrame } from "./frames.js";
import {
  failure,
  frameLimit,
  greetingLimit,
  isLoopback,
  matches,
  nameRanks,
  plainAddress,
  proof,
} from "./rendezvous.js";

const greetingSeconds = 5; // from a connection to its proof
// Unknown connections besides the ranks': a rank gets through a flood of strangers.
const mostStrangers = 128;

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

interface Gathering {
  /** Whether the values are for rank 0 alone. */
  isForFirst: boolean;
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

  /** @throws the system's error when it cannot listen at the address and port. */
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
        ? `rank ${rank} of ${theirs} came to a meeting of ${plural(worldSize, "rank")}; start all with the same world size`
        : this.members.has(rank)
          ? `rank ${rank} is here already; give each process a rank of its own`
          : undefined;
    // A rank that left may come to the next meeting, which begins when all have left this one.
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
    if (type !== "gather" && type !== "collect") {
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
    if (refusal === undefined)
      this.contribute(rank, key, value, gathering ?? this.begin(key, type === "collect"));
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
    for (const [to, member] of this.members) {
      const own = gathering.isForFirst && to !== 0 ? [] : values;
      sendFrame(member, { type: "gathered", key, values: own });
    }
  }

  private begin(key: string, isForFirst: boolean): Gathering {
    const seconds = this.options.timeoutSeconds;
    const gathering: Gathering = {
      ...{ isForFirst, values: new Map(), since: new Map() },
      deadline: undefined,
    };
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

/** Listens where rank 0 is said to be; on every address when that name is not this machine's own. */
export async function hostRendezvous(
  options: ServerOptions & { host: string; port: number },
): Promise<RendezvousServer> {
  const { address } = await lookup(options.host).catch(({ code, message }) => {
    throw failure(
      `${shown(options.host)}, where rank 0 is to be, names no host here (${code ?? message}). Set ` +
        "MASTER_ADDR to the name or address of rank 0's machine, the same for all ranks",
    );
  });
  let problem: NodeJS.ErrnoException | undefined;
  for (const host of [address, "::", "0.0.0.0"]) {
    try {
      return await RendezvousServer.listen({ ...options, host });
    } catch (error) {
      problem = error as NodeJS.ErrnoException;
      // Not an address of this machine, or a system without IPv6.
      if (!["EADDRNOTAVAIL", "EAFNOSUPPORT", "EINVAL"].includes(problem.code ?? "")) break;
    }
  }
  throw failure(
    `rank 0 cannot listen at ${options.host}:${options.port} (${problem?.code}). Set MASTER_PORT ` +
      "to a free port, the same for all ranks",
  );
}
