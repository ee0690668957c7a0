// Finds a rendezvous and joins it as one rank, or says what was in the way.
import { randomBytes } from "node:crypto";
import { connect as connectSocket } from "node:net";
import { OnehourError } from "../errors.js";
import { resolveAll, withPort } from "./addresses.js";
import { hostName } from "./arrivals.js";
import { FrameReader, sendFrame } from "./frames.js";
import { interfaceOf, sourceTowards } from "./interfaces.js";
import {
  failure,
  frameLimit,
  greetingLimit,
  isLoopback,
  type MemberKind,
  matches,
  proof,
  settingsOf,
  thisHost,
} from "./rendezvous.js";
import { RendezvousClient } from "./rendezvous-client.js";

// Between two attempts: a tenth of the time so far, so that many ranks do not storm a late server.
const leastPause = 100;
const mostPause = 1000; // milliseconds
// From a call to the admission: several retransmissions in a bad network.
const attemptSeconds = 10;
// At least, even where the time is over before: the obstacles of the last attempts are those that a user is told.
const leastAttemptSeconds = 2;
const firstRemarkSeconds = 10; // and then twice as long each time
// An answer that says that this is not our meeting: what was there before may still be about to end.
const wrongSeconds = 30;

export interface JoinOptions {
  rank: number;
  worldSize: number;
  token: string;
  host: string;
  port: number;
  /** How long to look for the server. */
  timeoutSeconds: number;
  /** How long the server's machine may not answer before it counts as lost; 60 by default. */
  quietSeconds?: number;
  /** What meets; ranks by default. */
  kind?: MemberKind;
  /** Ends the search. */
  signal?: AbortSignal;
  /** Takes what a user should read meanwhile: what is in the way. */
  remark?: (text: string) => void;
  /** The addresses of a name, asked anew for every attempt; the system's by default. */
  resolve?: (host: string) => Promise<string[]>;
}

/** What was in the way of one attempt. */
type Obstacle =
  | "unknown"
  | "refused"
  | "unrouted"
  | "silent"
  | "mute"
  | "stranger"
  | "token"
  | "impostor"
  | "other"
  | Told;

/** Obstacles of which the server itself says what they are. */
type Told = "taken" | "later";

class Miss extends Error {
  constructor(
    readonly obstacle: Obstacle,
    message: string,
  ) {
    super(message);
  }
}

/** What to check, by what was in the way; {port} is the rendezvous', {kind} is what meets. */
const advice: Readonly<Record<Exclude<Obstacle, Told>, string>> = {
  unknown: "Give an address, or a name that every machine knows ({address})",
  refused: "See whether {kind} 0 has started there, and that all have the same port",
  unrouted: "None of this machine's networks leads there; give an address of one that all share",
  silent:
    "See that {kind} 0's machine is up, that this is its address on a network that all share, and that a " +
    "firewall lets port {port} through",
  mute: "Another program may listen there, or a firewall answers; try another port ({port setting})",
  stranger: "Another program listens there; set another port, the same for all ({port setting})",
  token:
    "Either {secret} is not the same everywhere, or the port is another run's: then set another one",
  impostor: "{secret} must be the same everywhere",
  other: "See that {kind} 0 runs there and that a firewall lets port {port} through",
};

const isTold = (obstacle: Obstacle): obstacle is Told =>
  obstacle === "taken" || obstacle === "later";

const wrong: readonly Obstacle[] = ["stranger", "token", "impostor", "taken"];

const obstacles: Readonly<Record<string, [Obstacle, string]>> = {
  ECONNREFUSED: ["refused", "nothing listens there (connection refused)"],
  EHOSTUNREACH: ["unrouted", "no route leads there (EHOSTUNREACH)"],
  ENETUNREACH: ["unrouted", "no route leads there (ENETUNREACH)"],
  EADDRNOTAVAIL: ["unrouted", "no route leads there (EADDRNOTAVAIL)"],
  EINVAL: ["unrouted", "no route leads there (EINVAL)"],
  ETIMEDOUT: ["silent", "no answer (timed out)"],
  ENOTFOUND: ["unknown", "the name is unknown here (ENOTFOUND)"],
  EAI_AGAIN: ["unknown", "no name server answers (EAI_AGAIN)"],
};

function missOf(error: unknown): Miss {
  if (error instanceof Miss) return error;
  const { code = "", message } = error as NodeJS.ErrnoException;
  return new Miss(...(obstacles[code] ?? (["other", message] as const)));
}

/**
 * Joins the meeting as one rank; tries every address of the name again, and asks for them again, until the
 * server is there.
 * @throws OnehourError ERR_ONEHOUR_RENDEZVOUS when nobody answers in time, with the addresses that were
 * tried, the interface to each and what happened; and when the server refuses this rank. The reason of
 * `signal` when that ends the search.
 */
export async function joinRendezvous(options: JoinOptions): Promise<RendezvousClient> {
  const { host, port, timeoutSeconds, kind = "rank", remark, resolve = resolveAll } = options;
  const who = `${kind} ${options.rank} of ${options.worldSize}`;
  const begin = performance.now();
  const deadline = begin + timeoutSeconds * 1000;
  let remarkAt = begin + firstRemarkSeconds * 1000;
  let wrongSince: number | undefined;
  const place = withPort(host, port);
  for (;;) {
    const misses: { address?: string; miss: Miss }[] = [];
    try {
      for (const address of await resolve(host)) {
        const left = Math.max(leastAttemptSeconds, (deadline - performance.now()) / 1000);
        try {
          return await attempt(options, address, Math.min(attemptSeconds, left));
        } catch (error) {
          if (error instanceof OnehourError) throw error;
          misses.push({ address, miss: missOf(error) });
        }
      }
    } catch (error) {
      if (error instanceof OnehourError) throw error;
      misses.push({ miss: missOf(error) });
    }
    options.signal?.throwIfAborted();
    const now = performance.now();
    const isWrong = misses.some(({ miss }) => wrong.includes(miss.obstacle));
    wrongSince = isWrong ? (wrongSince ?? now) : undefined;
    const over = now >= deadline || (isWrong && now - wrongSince! >= wrongSeconds * 1000);
    if (over || now >= remarkAt) {
      const why = (await Promise.all(misses.map((one) => explain(host, one)))).join("; ");
      const told = misses.find(({ miss }) => isTold(miss.obstacle));
      if (over && told !== undefined) throw failure(told.miss.message);
      if (over) {
        const seconds = Math.min(timeoutSeconds, Math.round((now - begin) / 100) / 10);
        throw failure(
          `${who}, on host ${thisHost()}, found no rendezvous at ${place} within ${seconds} s: ${why}. ` +
            advise(misses, kind, port),
        );
      }
      remark?.(`${who} still looks for the rendezvous at ${place}: ${why}`);
      remarkAt = now + 2 * (remarkAt - begin);
    }
    const pause = Math.min(mostPause, Math.max(leastPause, (now - begin) / 10));
    await new Promise((resume) => setTimeout(resume, Math.min(pause, deadline - now)));
  }
}

/** "10.0.0.1 (by eth0): nothing listens there" */
async function explain(
  host: string,
  { address, miss }: { address?: string; miss: Miss },
): Promise<string> {
  if (address === undefined) return miss.message;
  if (isLoopback(address)) {
    const named = address === host ? address : `${host} is ${address} here, which`;
    return `${named} is this very machine, and ${miss.message}`;
  }
  const own = await sourceTowards(address);
  const by = own === undefined ? "" : ` (by ${interfaceOf(own) ?? "an interface"}, from ${own})`;
  return `${address}${by}: ${miss.message}`;
}

function advise(
  misses: readonly { address?: string; miss: Miss }[],
  kind: MemberKind,
  port: number,
): string {
  const loopback = misses.find(({ address }) => address !== undefined && isLoopback(address));
  if (loopback !== undefined && !wrong.includes(loopback.miss.obstacle))
    return (
      `If ${kind} 0 runs on another machine, give an address of that machine, or a name that means it ` +
      `everywhere (${settingsOf[kind].address}): /etc/hosts often gives a machine's own name a loopback address`
    );
  // The one that came furthest.
  const order = Object.keys(advice);
  const furthest = misses.map(({ miss }) => miss.obstacle).filter((obstacle) => !isTold(obstacle));
  furthest.sort((a, b) => order.indexOf(b) - order.indexOf(a));
  const { address, port: portSetting, secret } = settingsOf[kind];
  return advice[furthest[0] ?? "other"]
    .replaceAll("{kind}", kind)
    .replaceAll("{port}", `${port}`)
    .replaceAll("{address}", address)
    .replaceAll("{port setting}", portSetting)
    .replaceAll("{secret}", secret);
}

function attempt(
  options: JoinOptions,
  address: string,
  seconds: number,
): Promise<RendezvousClient> {
  const { rank, worldSize, token, port, quietSeconds = 60, kind = "rank", signal } = options;
  const nonce = randomBytes(32).toString("hex");
  const own = thisHost();
  const reader = new FrameReader(greetingLimit);
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host: address, port, noDelay: true });
    let connected = false;
    let client: RendezvousClient | undefined;
    let challenge: string | undefined;
    const timer = setTimeout(() => {
      reject(
        connected
          ? new Miss("mute", "something listens there and says nothing")
          : new Miss("silent", "no answer"),
      );
      socket.destroy();
    }, seconds * 1000);
    const abort = () => refused(signal!.reason as Error);
    signal?.addEventListener("abort", abort);
    const refused = (error: Error) => {
      reject(error);
      socket.destroy();
    };
    socket.on("connect", () => {
      connected = true;
      // A port on which nobody listens may be chosen for the call itself, which then meets itself.
      if (socket.localPort === socket.remotePort && socket.localAddress === socket.remoteAddress)
        refused(new Miss(...obstacles.ECONNREFUSED!));
    });
    socket.on("error", reject);
    socket.on("close", () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      reject(
        challenge === undefined
          ? new Miss("mute", "something listens there and hangs up")
          : new Miss(
              "token",
              `a rendezvous listens there that hangs up on ${kind} ${rank}: it expects another token`,
            ),
      );
    });
    socket.on("data", (bytes) => {
      try {
        for (const frame of reader.push(bytes)) {
          if (client !== undefined) client.receive(frame);
          else if (challenge === undefined) {
            if (frame.type !== "challenge" || typeof frame.nonce !== "string")
              return refused(new Miss("stranger", "something else listens there"));
            challenge = frame.nonce;
            sendFrame(socket, {
              type: "hello",
              rank,
              worldSize,
              nonce,
              host: own,
              proof: proof(token, "client", challenge, nonce, rank, worldSize, own),
            });
          } else {
            const message = String(frame.message);
            const holder = String(frame.host);
            if (!matches(frame.proof, proof(token, "server", nonce, challenge, message, holder)))
              return refused(new Miss("impostor", "what listens there does not know the token"));
            // Both are tried again.
            if (frame.type === "later" || frame.type === "taken")
              return refused(new Miss(frame.type, message));
            if (frame.type !== "welcome") return refused(failure(message));
            clearTimeout(timer);
            signal?.removeEventListener("abort", abort);
            reader.limit = 2 * frameLimit * worldSize;
            client = new RendezvousClient({
              ...{ rank, worldSize, token, socket, quietSeconds, kind },
              holder: hostName(holder),
            });
            resolve(client);
          }
        }
      } catch (error) {
        refused(
          error instanceof OnehourError || client !== undefined
            ? (error as Error)
            : new Miss("stranger", "something else listens there"),
        );
      }
    });
  });
}
